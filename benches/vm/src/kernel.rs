//! The kernel's JIT, by `bpf(2)`: `BPF_PROG_TEST_RUN` of an XDP program whose memory is the value of its map
//! of global data. Takes root.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use bpftime_drivers::{Engine, Loaded};
use bpftime_isa::{MapDef, Program};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const PROG_TEST_RUN: i32 = 10;

/// Bytes of the packet that the program is run on and does not look at.
const PACKET: [u8; 64] = [0; 64];

/// `union bpf_attr` of `BPF_MAP_CREATE`, as far as it is used.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// `union bpf_attr` of `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` of `BPF_PROG_LOAD`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
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
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
}

/// `union bpf_attr` of `BPF_PROG_TEST_RUN`, as far as it is used.
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the attributes are a live `#[repr(C)]` value of the size that is given, and the buffers
    // that they point to outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn bpf_fd<T>(command: i32, attributes: &mut T) -> io::Result<OwnedFd> {
    let number = bpf(command, attributes)?;
    // SAFETY: the kernel just made the descriptor for this call; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

fn create(map: &MapDef) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: map.map_type as u32,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags,
    };
    bpf_fd(MAP_CREATE, &mut attributes)
}

/// The kernel's verifier and JIT.
pub(crate) struct Kernel;

struct Ready {
    program: OwnedFd,
    /// The map that is the program's memory.
    memory: Option<OwnedFd>,
    _maps: Vec<OwnedFd>,
}

impl Engine for Kernel {
    fn name(&self) -> &'static str {
        "kernel jit"
    }

    fn load(&self, program: Program, _: usize) -> Result<Box<dyn Loaded>> {
        let enabled = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
        ensure!(
            enabled.is_ok_and(|value| value.trim() != "0"),
            "the kernel's JIT is off, or not to be seen"
        );
        let mut maps: Vec<OwnedFd> = program
            .maps
            .iter()
            .map(create)
            .collect::<io::Result<_>>()
            .context("the kernel makes no map for us; it does for root")?;
        let fds: Vec<i32> = maps.iter().map(AsRawFd::as_raw_fd).collect();
        let insns: Vec<u8> = program
            .insns
            .iter()
            .flat_map(|insn| insn.to_le_bytes())
            .collect();
        let mut attributes = ProgLoad {
            prog_type: program.prog_type as u32,
            insn_cnt: program.insns.len() as u32,
            insns: insns.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            expected_attach_type: program.attach_type.map_or(0, |attach| attach.0),
            fd_array: fds.as_ptr() as u64,
            ..ProgLoad::default()
        };
        let loaded =
            bpf_fd(PROG_LOAD, &mut attributes).context("the kernel does not load the program")?;
        let data = program
            .maps
            .iter()
            .position(|map| map.name.ends_with(".bss"));
        let memory = data.map(|at| maps.remove(at));
        Ok(Box::new(Ready {
            program: loaded,
            memory,
            _maps: maps,
        }))
    }
}

impl Loaded for Ready {
    fn set_memory(&mut self, memory: &[u8]) -> Result<()> {
        let map = self.memory.as_ref().context("the program has no memory")?;
        let key = 0u32;
        // The kernel reads a whole value, which is as long as the program's memory.
        let mut element = MapElement {
            map_fd: map.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: memory.as_ptr() as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &mut element).context("the memory cannot be set")?;
        Ok(())
    }

    fn run(&mut self, times: u32) -> Result<u64> {
        let mut attributes = TestRun {
            prog_fd: self.program.as_raw_fd() as u32,
            retval: 0,
            data_size_in: PACKET.len() as u32,
            data_size_out: 0,
            data_in: PACKET.as_ptr() as u64,
            data_out: 0,
            repeat: times.max(1),
            duration: 0,
        };
        bpf(PROG_TEST_RUN, &mut attributes).context("the kernel does not run it")?;
        Ok(u64::from(attributes.retval))
    }
}
