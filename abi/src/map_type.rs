//! Map types, map flags and update flags with the kernel's numbers (`linux/bpf.h`).

macro_rules! map_types {
    ($($variant:ident = $value:expr, $kernel:expr, $name:expr;)*) => {
        /// Kind of a map.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum MapType {
            $(#[doc = concat!("Kernel `", $kernel, "`.")] #[doc(alias = $kernel)] $variant = $value,)*
        }

        impl MapType {
            /// All types, in the kernel's order.
            pub const ALL: &'static [MapType] = &[$(MapType::$variant,)*];

            /// The type with the kernel's number, if there is one.
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name that `bpftool map` prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

map_types! {
    Unspec = 0, "BPF_MAP_TYPE_UNSPEC", "unspec";
    Hash = 1, "BPF_MAP_TYPE_HASH", "hash";
    Array = 2, "BPF_MAP_TYPE_ARRAY", "array";
    ProgArray = 3, "BPF_MAP_TYPE_PROG_ARRAY", "prog_array";
    PerfEventArray = 4, "BPF_MAP_TYPE_PERF_EVENT_ARRAY", "perf_event_array";
    PerCpuHash = 5, "BPF_MAP_TYPE_PERCPU_HASH", "percpu_hash";
    PerCpuArray = 6, "BPF_MAP_TYPE_PERCPU_ARRAY", "percpu_array";
    StackTrace = 7, "BPF_MAP_TYPE_STACK_TRACE", "stack_trace";
    CgroupArray = 8, "BPF_MAP_TYPE_CGROUP_ARRAY", "cgroup_array";
    LruHash = 9, "BPF_MAP_TYPE_LRU_HASH", "lru_hash";
    LruPerCpuHash = 10, "BPF_MAP_TYPE_LRU_PERCPU_HASH", "lru_percpu_hash";
    LpmTrie = 11, "BPF_MAP_TYPE_LPM_TRIE", "lpm_trie";
    ArrayOfMaps = 12, "BPF_MAP_TYPE_ARRAY_OF_MAPS", "array_of_maps";
    HashOfMaps = 13, "BPF_MAP_TYPE_HASH_OF_MAPS", "hash_of_maps";
    DevMap = 14, "BPF_MAP_TYPE_DEVMAP", "devmap";
    SockMap = 15, "BPF_MAP_TYPE_SOCKMAP", "sockmap";
    CpuMap = 16, "BPF_MAP_TYPE_CPUMAP", "cpumap";
    XskMap = 17, "BPF_MAP_TYPE_XSKMAP", "xskmap";
    SockHash = 18, "BPF_MAP_TYPE_SOCKHASH", "sockhash";
    CgroupStorage = 19, "BPF_MAP_TYPE_CGROUP_STORAGE", "cgroup_storage";
    ReuseportSockArray = 20, "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", "reuseport_sockarray";
    PerCpuCgroupStorage = 21, "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", "percpu_cgroup_storage";
    Queue = 22, "BPF_MAP_TYPE_QUEUE", "queue";
    Stack = 23, "BPF_MAP_TYPE_STACK", "stack";
    SkStorage = 24, "BPF_MAP_TYPE_SK_STORAGE", "sk_storage";
    DevMapHash = 25, "BPF_MAP_TYPE_DEVMAP_HASH", "devmap_hash";
    StructOps = 26, "BPF_MAP_TYPE_STRUCT_OPS", "struct_ops";
    RingBuf = 27, "BPF_MAP_TYPE_RINGBUF", "ringbuf";
    InodeStorage = 28, "BPF_MAP_TYPE_INODE_STORAGE", "inode_storage";
    TaskStorage = 29, "BPF_MAP_TYPE_TASK_STORAGE", "task_storage";
    BloomFilter = 30, "BPF_MAP_TYPE_BLOOM_FILTER", "bloom_filter";
    UserRingBuf = 31, "BPF_MAP_TYPE_USER_RINGBUF", "user_ringbuf";
    CgrpStorage = 32, "BPF_MAP_TYPE_CGRP_STORAGE", "cgrp_storage";
    Arena = 33, "BPF_MAP_TYPE_ARENA", "arena";
    InsnArray = 34, "BPF_MAP_TYPE_INSN_ARRAY", "insn_array";
}

/// Flags of `BPF_MAP_CREATE` (`map_flags`).
pub mod create_flags {
    /// Hash maps: allocate elements on insert.
    pub const BPF_F_NO_PREALLOC: u32 = 1 << 0;
    /// User space may not write.
    pub const BPF_F_RDONLY: u32 = 1 << 3;
    /// User space may not read.
    pub const BPF_F_WRONLY: u32 = 1 << 4;
    /// Zero hash seed, for tests.
    pub const BPF_F_ZERO_SEED: u32 = 1 << 6;
    /// Programs may not write.
    pub const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    /// Programs may not read.
    pub const BPF_F_WRONLY_PROG: u32 = 1 << 8;
    /// Array values can be mapped by user space.
    pub const BPF_F_MMAPABLE: u32 = 1 << 10;
}

/// Flags of map updates.
pub mod update_flags {
    /// Create or overwrite.
    pub const BPF_ANY: u64 = 0;
    /// Create; `EEXIST` if there.
    pub const BPF_NOEXIST: u64 = 1;
    /// Overwrite; `ENOENT` if not there.
    pub const BPF_EXIST: u64 = 2;
    /// Use the value's spin lock.
    pub const BPF_F_LOCK: u64 = 4;
}
