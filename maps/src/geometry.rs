//! Type, sizes and flags of a map, and where its parts lie.

use bpftime_abi::map_type::create_flags::*;
use bpftime_abi::{Errno, MapType};

/// Bytes of a page; the unit of file lengths and ring buffers.
pub const PAGE_SIZE: u64 = 4096;

/// Greatest number of bytes that a map may span; larger ones fail with `ENOMEM`. (Files are
/// sparse: untouched pages cost nothing.)
pub const MAX_BYTES: u64 = 16 << 30;

/// Greatest number of CPUs.
pub const MAX_CPUS: u32 = 1024;

/// `BPF_F_NUMA_NODE`; accepted where the kernel accepts it, and without effect.
const BPF_F_NUMA_NODE: u32 = 1 << 2;
/// `BPF_F_PRESERVE_ELEMS` of perf event arrays.
const BPF_F_PRESERVE_ELEMS: u32 = 1 << 11;
/// `BPF_F_INNER_MAP` of arrays.
const BPF_F_INNER_MAP: u32 = 1 << 12;
/// The kernel's `BPF_F_ACCESS_MASK`.
const ACCESS: u32 = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

/// Greatest size of a per-CPU value (the kernel's `PCPU_MIN_UNIT_SIZE`).
const MAX_PER_CPU_VALUE: u64 = 32 << 10;
/// Key and value of a hash element are together smaller than this (the kernel's
/// `KMALLOC_MAX_SIZE - sizeof(struct htab_elem)`).
const MAX_HASH_ELEMENT: u64 = (4 << 20) - 48;
/// More entries need more buckets than the kernel can have.
const MAX_HASH_ENTRIES: u32 = 1 << 27;

/// Elements of a hash map beyond `max_entries`, with which existing keys are replaced.
pub(crate) const SPARE_ELEMENTS: u32 = 64;
/// Bytes before the buckets in the control memory.
pub(crate) const HEADER_BYTES: u64 = 512;
/// Bytes of a hash bucket.
pub(crate) const BUCKET_BYTES: u64 = 16;
/// Bytes of a hash element before its key.
pub(crate) const ELEMENT_HEADER_BYTES: u64 = 8;

/// What a map is. Every user of a map must have the same geometry, from a trusted source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Geometry {
    /// Kind.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's, for per-CPU maps).
    pub value_size: u32,
    /// Entries; bytes of data for ring buffers.
    pub max_entries: u32,
    /// Flags of creation ([`bpftime_abi::map_type::create_flags`]).
    pub flags: u32,
    /// CPUs that per-CPU maps have values for, 1 to [`MAX_CPUS`].
    pub cpus: u32,
    /// Key of the hash function, random per map (0 with `BPF_F_ZERO_SEED`).
    pub seed: u64,
}

impl Geometry {
    /// The kernel's checks at creation, with the kernel's error numbers.
    ///
    /// `EINVAL` also for types that are not implemented (see [`Self::is_implemented`]), as the
    /// kernel has it for types that it was built without.
    #[doc(alias = "map_alloc_check")]
    pub const fn validate(&self) -> Result<(), Errno> {
        // Read-only and write-only at once is a contradiction, for user space as for programs.
        if self.has(BPF_F_RDONLY) && self.has(BPF_F_WRONLY)
            || self.has(BPF_F_RDONLY_PROG) && self.has(BPF_F_WRONLY_PROG)
        {
            return Err(Errno::EINVAL);
        }
        if self.cpus == 0 || self.cpus > MAX_CPUS {
            return Err(Errno::EINVAL);
        }
        if let Err(errno) = self.validate_type() {
            return Err(errno);
        }
        match Layout::of(self) {
            Some(layout) if layout.control_len <= MAX_BYTES && layout.data_len <= MAX_BYTES => {
                Ok(())
            }
            _ => Err(Errno::ENOMEM),
        }
    }

    const fn validate_type(&self) -> Result<(), Errno> {
        let value_size = self.value_size as u64;
        match self.map_type {
            MapType::Array | MapType::PerCpuArray | MapType::PerfEventArray => {
                let allowed = match self.map_type {
                    MapType::Array => BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_INNER_MAP,
                    MapType::PerfEventArray => BPF_F_NUMA_NODE | BPF_F_PRESERVE_ELEMS,
                    _ => 0,
                };
                if self.key_size != 4
                    || value_size == 0
                    || self.max_entries == 0
                    || self.flags & !(allowed | ACCESS) != 0
                {
                    return Err(Errno::EINVAL);
                }
                if matches!(self.map_type, MapType::PerfEventArray)
                    && (value_size != 4
                        || self.has(BPF_F_RDONLY_PROG)
                        || self.has(BPF_F_WRONLY_PROG))
                {
                    return Err(Errno::EINVAL);
                }
                let most = match self.map_type {
                    MapType::PerCpuArray => MAX_PER_CPU_VALUE,
                    _ => i32::MAX as u64,
                };
                if value_size > most {
                    Err(Errno::E2BIG)
                } else {
                    Ok(())
                }
            }
            MapType::Hash | MapType::PerCpuHash => {
                let per_cpu = self.is_per_cpu();
                let numa = if per_cpu { 0 } else { BPF_F_NUMA_NODE };
                let allowed = BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED | ACCESS | numa;
                if self.flags & !allowed != 0
                    || self.key_size == 0
                    || value_size == 0
                    || self.max_entries == 0
                {
                    return Err(Errno::EINVAL);
                }
                if self.key_size as u64 + value_size >= MAX_HASH_ELEMENT
                    || per_cpu && value_size > MAX_PER_CPU_VALUE
                    || self.max_entries > MAX_HASH_ENTRIES
                {
                    return Err(Errno::E2BIG);
                }
                Ok(())
            }
            MapType::RingBuf => {
                if self.flags & !BPF_F_NUMA_NODE != 0
                    || self.key_size != 0
                    || value_size != 0
                    || !self.max_entries.is_power_of_two()
                    || !(self.max_entries as u64).is_multiple_of(PAGE_SIZE)
                {
                    return Err(Errno::EINVAL);
                }
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether maps of this type can be made at all.
    pub const fn is_implemented(map_type: MapType) -> bool {
        matches!(
            map_type,
            MapType::Array
                | MapType::PerCpuArray
                | MapType::Hash
                | MapType::PerCpuHash
                | MapType::RingBuf
                | MapType::PerfEventArray
        )
    }

    /// Why [`Self::validate`] refused, as a sentence for people.
    pub const fn refusal(&self) -> Option<&'static str> {
        if !Self::is_implemented(self.map_type) {
            return Some("maps of this type are not implemented");
        }
        match self.validate() {
            Ok(()) => None,
            Err(Errno::E2BIG) => Some("key, value or number of entries are too large"),
            Err(Errno::ENOMEM) => Some("the map would span more than 16 GiB"),
            Err(_) => Some("sizes or flags do not fit the type of the map"),
        }
    }

    /// Bytes of the control memory (a multiple of the page size); 0 if the geometry is not valid.
    pub const fn control_len(&self) -> usize {
        match (self.validate(), Layout::of(self)) {
            (Ok(()), Some(layout)) => layout.control_len as usize,
            _ => 0,
        }
    }

    /// Bytes of the data memory (a multiple of the page size); 0 if the map has none (hash maps
    /// and perf event arrays), or if the geometry is not valid.
    pub const fn data_len(&self) -> usize {
        match (self.validate(), Layout::of(self)) {
            (Ok(()), Some(layout)) => layout.data_len as usize,
            _ => 0,
        }
    }

    /// Whether each CPU has its own value.
    pub const fn is_per_cpu(&self) -> bool {
        matches!(self.map_type, MapType::PerCpuArray | MapType::PerCpuHash)
    }

    /// Bytes of a value in the `bpf()` system call: all CPUs' values, each rounded up to 8
    /// bytes, for per-CPU maps.
    pub const fn user_value_size(&self) -> usize {
        if self.is_per_cpu() {
            (round_up(self.value_size as u64, 8).wrapping_mul(self.cpus as u64)) as usize
        } else {
            self.value_size as usize
        }
    }

    /// Bytes from one value of an array to the next, and for per-CPU arrays from the values of one CPU to
    /// those of the next; nothing if the array would be too large. For code that finds values without a
    /// call.
    pub const fn array_strides(value_size: u32, max_entries: u32) -> Option<(u64, u64)> {
        let value = round_up(value_size as u64, 8);
        match value.checked_mul(max_entries as u64) {
            // CPUs share no cache line.
            Some(len) if len <= MAX_BYTES => Some((value, round_up(len, 64))),
            _ => None,
        }
    }

    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// `n` rounded up to a multiple of `to`, a power of two; `n` is far from the end of the range.
pub(crate) const fn round_up(n: u64, to: u64) -> u64 {
    n.wrapping_add(to.wrapping_sub(1)) & !to.wrapping_sub(1)
}

/// Where the parts of a map lie; computed from the geometry, kept in private memory.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Layout {
    /// Bytes of control memory.
    pub control_len: u64,
    /// Bytes of data memory.
    pub data_len: u64,
    /// Bytes of a value, rounded up to 8.
    pub value_stride: u64,
    /// Bytes from one CPU's values to the next one's.
    pub cpu_stride: u64,
    /// Hash: bytes of a key, rounded up to 8.
    pub key_stride: u64,
    /// Hash: bytes of an element.
    pub element_stride: u64,
    /// Hash: offset of the elements in the control memory.
    pub elements: u64,
    /// Hash: offset of the bitmap (one bit an element) in the control memory.
    pub bitmap: u64,
    /// Hash: number of elements, spare ones included.
    pub element_count: u32,
    /// Hash: number of buckets minus one.
    pub bucket_mask: u32,
}

impl Layout {
    /// The layout of a map whose sizes passed [`Geometry::validate_type`]; nothing on overflow.
    pub(crate) const fn of(geometry: &Geometry) -> Option<Self> {
        let value_stride = round_up(geometry.value_size as u64, 8);
        let entries = geometry.max_entries as u64;
        let cpus = geometry.cpus as u64;
        let mut layout = Self {
            control_len: PAGE_SIZE,
            data_len: 0,
            value_stride,
            cpu_stride: 0,
            key_stride: 0,
            element_stride: 0,
            elements: 0,
            bitmap: 0,
            element_count: 0,
            bucket_mask: 0,
        };
        match geometry.map_type {
            MapType::Array | MapType::PerCpuArray => {
                let strides = Geometry::array_strides(geometry.value_size, geometry.max_entries);
                let Some((_, cpu_stride)) = strides else {
                    return None;
                };
                layout.cpu_stride = cpu_stride;
                let copies = if geometry.is_per_cpu() { cpus } else { 1 };
                let Some(len) = layout.cpu_stride.checked_mul(copies) else {
                    return None;
                };
                if len > MAX_BYTES {
                    return None;
                }
                layout.data_len = round_up(len, PAGE_SIZE);
            }
            MapType::RingBuf => {
                layout.data_len = entries.wrapping_mul(2).wrapping_add(2 * PAGE_SIZE);
            }
            MapType::Hash | MapType::PerCpuHash => {
                let (copies, spare) = if geometry.is_per_cpu() {
                    (cpus, 0)
                } else {
                    (1, SPARE_ELEMENTS)
                };
                if geometry.max_entries > MAX_HASH_ENTRIES {
                    return None;
                }
                let count = entries.wrapping_add(spare as u64);
                let Some(values) = value_stride.checked_mul(copies) else {
                    return None;
                };
                layout.cpu_stride = value_stride;
                layout.key_stride = round_up(geometry.key_size as u64, 8);
                let header = ELEMENT_HEADER_BYTES.wrapping_add(layout.key_stride);
                layout.element_stride = header.wrapping_add(values);
                // Twice as many buckets as entries: most chains have one element.
                let buckets = entries.next_power_of_two().wrapping_mul(2);
                layout.bucket_mask = buckets.wrapping_sub(1) as u32;
                layout.element_count = count as u32;
                layout.elements = HEADER_BYTES.wrapping_add(buckets.wrapping_mul(BUCKET_BYTES));
                let Some(len) = layout.element_stride.checked_mul(count) else {
                    return None;
                };
                if len > MAX_BYTES {
                    return None;
                }
                layout.bitmap = layout.elements.wrapping_add(len);
                let bitmap = round_up(count, 64) / 8;
                layout.control_len = round_up(layout.bitmap.wrapping_add(bitmap), PAGE_SIZE);
            }
            _ => {}
        }
        Some(layout)
    }
}
