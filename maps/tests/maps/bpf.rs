//! The kernel's maps and programs, by raw `bpf(2)`.

use bpftime_abi::Errno;
use bpftime_maps::Geometry;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const MAP_GET_NEXT_KEY: i32 = 4;
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;
const MAP_LOOKUP_AND_DELETE_ELEM: i32 = 21;
const PROG_TYPE_XDP: u32 = 6;

pub(crate) type Result<T> = core::result::Result<T, Errno>;

pub(crate) fn bpf(command: i32, attr: &mut [u64; 16]) -> Result<i32> {
    // SAFETY: every address in the attributes comes from a slice that outlives the call and has
    // the length that the map's geometry asks for.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), 128) };
    if result >= 0 {
        return Ok(result as i32);
    }
    Err(Errno(
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
    ))
}

/// Closed when dropped.
#[derive(Debug)]
pub(crate) struct Fd(pub(crate) i32);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { libc::close(self.0) };
    }
}

/// Whether the kernel lets us make maps and programs; says why not.
pub(crate) fn usable(test: &str) -> bool {
    match bpf(
        MAP_CREATE,
        &mut [
            2 | 4 << 32,
            8 | 1 << 32,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ],
    ) {
        Ok(fd) => {
            drop(Fd(fd));
            true
        }
        Err(errno) => {
            eprintln!("{test}: skipped, bpf(2) is refused ({})", errno.name());
            false
        }
    }
}

pub(crate) fn possible_cpus() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last = text.trim().rsplit(['-', ',']).next().unwrap();
    last.parse::<u32>().unwrap() + 1
}

#[derive(Debug)]
pub(crate) struct KernelMap(pub(crate) Fd);

impl KernelMap {
    pub(crate) fn create(g: &Geometry) -> Result<Self> {
        let mut attr = [0; 16];
        attr[0] = g.map_type as u64 | (g.key_size as u64) << 32;
        attr[1] = g.value_size as u64 | (g.max_entries as u64) << 32;
        attr[2] = g.flags as u64;
        bpf(MAP_CREATE, &mut attr).map(|fd| Self(Fd(fd)))
    }

    fn attr(&self, key: *const u8, value: *const u8, flags: u64) -> [u64; 16] {
        let mut attr = [0; 16];
        attr[..4].copy_from_slice(&[self.0.0 as u64, key as u64, value as u64, flags]);
        attr
    }

    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        let mut attr = self.attr(key.as_ptr(), value.as_mut_ptr(), flags);
        bpf(MAP_LOOKUP_ELEM, &mut attr).map(drop)
    }

    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<()> {
        let mut attr = self.attr(key.as_ptr(), value.as_ptr(), flags);
        bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<()> {
        bpf(
            MAP_DELETE_ELEM,
            &mut self.attr(key.as_ptr(), core::ptr::null(), 0),
        )
        .map(drop)
    }

    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<()> {
        let key = key.map_or(core::ptr::null(), <[u8]>::as_ptr);
        bpf(MAP_GET_NEXT_KEY, &mut self.attr(key, next.as_mut_ptr(), 0)).map(drop)
    }

    pub(crate) fn lookup_and_delete(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<()> {
        let mut attr = self.attr(key.as_ptr(), value.as_mut_ptr(), flags);
        bpf(MAP_LOOKUP_AND_DELETE_ELEM, &mut attr).map(drop)
    }
}

/// A loaded XDP program.
pub(crate) struct Program(Fd);

impl Program {
    /// Loads raw instructions that the kernel must accept.
    pub(crate) fn load(instructions: &[u64]) -> Self {
        match Self::try_load(instructions) {
            Ok(program) => program,
            Err(log) => panic!("{log}"),
        }
    }

    /// Loads raw instructions, or gives the verifier's log.
    pub(crate) fn try_load(instructions: &[u64]) -> core::result::Result<Self, String> {
        let license = b"GPL\0";
        let mut log = vec![0u8; 1 << 16];
        let mut attr = [0; 16];
        attr[0] = PROG_TYPE_XDP as u64 | (instructions.len() as u64) << 32;
        attr[1] = instructions.as_ptr() as u64;
        attr[2] = license.as_ptr() as u64;
        attr[3] = 1 | (log.len() as u64) << 32;
        attr[4] = log.as_mut_ptr() as u64;
        bpf(PROG_LOAD, &mut attr)
            .map(|fd| Self(Fd(fd)))
            .map_err(|errno| format!("{}: {}", errno.name(), String::from_utf8_lossy(&log)))
    }

    /// Runs it once on an empty packet; gives its 32-bit result.
    pub(crate) fn run(&self) -> u32 {
        let packet = [0u8; 64];
        let mut attr = [0; 16];
        attr[0] = self.0.0 as u64;
        attr[1] = packet.len() as u64;
        attr[2] = packet.as_ptr() as u64;
        bpf(PROG_TEST_RUN, &mut attr).unwrap();
        (attr[0] >> 32) as u32
    }
}

/// An instruction.
pub(crate) const fn insn(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> u64 {
    opcode as u64
        | (dst as u64) << 8
        | (src as u64) << 12
        | (offset as u16 as u64) << 16
        | (imm as u32 as u64) << 32
}

/// `dst = imm ll`.
pub(crate) const fn load_imm(dst: u8, imm: u64) -> [u64; 2] {
    [
        insn(0x18, dst, 0, 0, imm as i32),
        insn(0, 0, 0, 0, (imm >> 32) as i32),
    ]
}

/// `dst = map ll`.
pub(crate) fn load_map(dst: u8, map: &KernelMap) -> [u64; 2] {
    [insn(0x18, dst, 1, 0, map.0.0), 0]
}

/// `dst = address of the first value of an array`.
pub(crate) fn load_value(dst: u8, map: &KernelMap) -> [u64; 2] {
    [insn(0x18, dst, 2, 0, map.0.0), 0]
}

/// `call helper`.
pub(crate) const fn call(helper: i32) -> u64 {
    insn(0x85, 0, 0, 0, helper)
}

/// `exit`.
pub(crate) const EXIT: u64 = insn(0x95, 0, 0, 0, 0);

/// Keeps the calling thread on CPU 0.
pub(crate) fn stay_on_first_cpu() {
    // SAFETY: the set is plain data, of the size given.
    unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}
