//! Asks the kernel to verify a program.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bpftime_isa::{Insn, ProgType};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_MAP_FREEZE: libc::c_long = 22;

const BPF_F_SLEEPABLE: u32 = 1 << 4;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Attr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    /// Program BTF, its descriptor, function and line information.
    btf: [u64; 4],
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// What the kernel said.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The error number, or 0 if the program was accepted.
    pub(crate) errno: i32,
    pub(crate) log: String,
}

/// What a program is for the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    pub(crate) prog_type: ProgType,
    pub(crate) attach_type: u32,
    pub(crate) sleepable: bool,
    /// In the kernel's own BTF, what it is attached to.
    pub(crate) btf_id: u32,
}

impl Kind {
    pub(crate) fn new(prog_type: ProgType, attach_type: u32) -> Self {
        Self {
            prog_type,
            attach_type,
            // Programs of this type always may.
            sleepable: prog_type == ProgType::Syscall,
            btf_id: 0,
        }
    }
}

impl From<ProgType> for Kind {
    fn from(prog_type: ProgType) -> Self {
        Self::new(prog_type, 0)
    }
}

/// A program to ask about.
pub(crate) struct Question<'a> {
    pub(crate) kind: Kind,
    pub(crate) license: &'a str,
    pub(crate) insns: &'a [Insn],
}

impl Question<'_> {
    /// Asks for the whole log: every instruction, and the state after it.
    pub(crate) fn ask(&self) -> Verdict {
        self.ask_at_level(2)
    }

    /// Asks for the log of a refusal only, which is quicker.
    pub(crate) fn ask_briefly(&self) -> Verdict {
        self.ask_at_level(1)
    }

    fn ask_at_level(&self, log_level: u32) -> Verdict {
        let code: Vec<u8> = self.insns.iter().flat_map(|i| i.to_le_bytes()).collect();
        let license = CString::new(self.license).expect("no NUL in a licence");
        let mut log = vec![0u8; 1 << 16];
        let attr = Attr {
            prog_type: self.kind.prog_type as u32,
            insn_cnt: self.insns.len() as u32,
            insns: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level,
            log_size: log.len() as u32,
            log_buf: log.as_mut_ptr() as u64,
            prog_flags: u32::from(self.kind.sleepable) * BPF_F_SLEEPABLE,
            expected_attach_type: self.kind.attach_type,
            attach_btf_id: self.kind.btf_id,
            ..Attr::default()
        };
        // SAFETY: every address in `attr` is of a buffer that outlives the call and has the length
        // given beside it; the kernel writes only to `log`.
        let fd = unsafe { bpf(BPF_PROG_LOAD, &attr) };
        let errno = if fd >= 0 {
            // SAFETY: the descriptor was just made and nobody else knows it.
            unsafe { libc::close(fd as i32) };
            0
        } else {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
        };
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        Verdict { errno, log }
    }
}

/// `bpf()`.
///
/// # Safety
///
/// `attr` is what the command takes, and the addresses in it are valid for what the command does.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> libc::c_long {
    // SAFETY: the caller vouches for `attr`.
    unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) }
}

/// A map of the kernel.
pub(crate) struct Map(OwnedFd);

impl Map {
    /// Creates a map: type, key size, value size, entries, flags.
    pub(crate) fn new(attr: [u32; 5]) -> Self {
        // SAFETY: the attribute holds no address.
        let fd = unsafe { bpf(BPF_MAP_CREATE, &attr) };
        let error = std::io::Error::last_os_error();
        assert!(fd >= 0, "no map {attr:?}: {error}");
        // SAFETY: the descriptor was just made and nobody else knows it.
        Self(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    /// An array of one value that begins with a string, frozen and read-only for programs.
    pub(crate) fn read_only() -> Self {
        const BPF_F_RDONLY_PROG: u32 = 1 << 7;
        let map = Self::new([2, 4, 64, 1, BPF_F_RDONLY_PROG]);
        let key = 0u32;
        let value = [0u8; 64];
        let attr = [
            map.fd() as u64,
            &raw const key as u64,
            &raw const value as u64,
            0,
        ];
        // SAFETY: key and value have the sizes of the map's, and outlive the call.
        assert_eq!(unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attr) }, 0);
        // SAFETY: the attribute holds no address.
        assert_eq!(unsafe { bpf(BPF_MAP_FREEZE, &(map.fd() as u32)) }, 0);
        map
    }

    pub(crate) fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// Leaves this thread no capability but `CAP_BPF` and `CAP_NET_ADMIN`.
pub(crate) fn without_perfmon() {
    const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_BPF: u32 = 39;
    // Version and thread (0 is the caller); then effective, permitted and inheritable sets, the
    // low halves before the high ones.
    let header = [LINUX_CAPABILITY_VERSION_3, 0];
    let (low, high) = (1 << CAP_NET_ADMIN, 1 << (CAP_BPF - 32));
    let sets: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: both arrays have the layout of version 3 and outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    let error = std::io::Error::last_os_error();
    assert_eq!(done, 0, "cannot give up capabilities: {error}");
}

/// Whether the kernel can be asked; prints why not.
pub(crate) fn available() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if !release.starts_with("6.18.") {
        println!("skipped: the tables are of Linux 6.18, this is {release:?}");
        return false;
    }
    let insns = bpftime_isa::encode(&[mov0(), bpftime_isa::Instruction::Exit]);
    // One type that needs `CAP_PERFMON`, one that needs `CAP_NET_ADMIN`.
    for prog_type in [
        bpftime_isa::ProgType::Kprobe,
        bpftime_isa::ProgType::SchedCls,
    ] {
        let question = Question {
            kind: prog_type.into(),
            license: "GPL",
            insns: &insns,
        };
        let errno = question.ask().errno;
        if errno != 0 {
            println!("skipped: the kernel refuses {prog_type:?} programs of ours (errno {errno})");
            return false;
        }
    }
    true
}

/// `r0 = 0`.
pub(crate) fn mov0() -> bpftime_isa::Instruction {
    mov(bpftime_isa::Reg::R0, 0)
}

/// `dst = value`.
pub(crate) fn mov(dst: bpftime_isa::Reg, value: i32) -> bpftime_isa::Instruction {
    bpftime_isa::Instruction::Alu {
        op: bpftime_isa::AluOp::Mov,
        width: bpftime_isa::Width::W64,
        dst,
        src: bpftime_isa::Operand::Imm(value),
    }
}
