//! The kernel's verifier, asked by `bpf(2)` with what our loader made of an object: for old objects,
//! which libbpf cannot open. The program goes without its BTF, so nothing that needs it can be asked.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bpftime_isa::{MapDef, MapType, Program};

const MAP_CREATE: i32 = 0;
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const MAP_FREEZE: i32 = 22;

/// `BPF_LOG_STATS`: only the summary.
const LOG_STATS: u32 = 4;
const LOG_BYTES: usize = 1 << 16;
const NAME_BYTES: usize = 16;

/// `union bpf_attr` of `BPF_MAP_CREATE`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// `union bpf_attr` of `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_FREEZE`.
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
    prog_name: [u8; NAME_BYTES],
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

/// A system call `bpf`; commands that make something return its descriptor.
fn bpf<T>(command: i32, attributes: &T) -> io::Result<i64> {
    // SAFETY: the attributes are a live `#[repr(C)]` value of the size that is given, and the buffers
    // that they point to outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn bpf_fd<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    let number = bpf(command, attributes)?;
    // SAFETY: the kernel just made the descriptor for this call; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// Makes a map, with its first contents.
fn create(map: &MapDef) -> io::Result<OwnedFd> {
    let inner = map.inner.as_deref().map(create).transpose()?;
    // As libbpf does: one entry for each CPU.
    let per_cpu = map.map_type == MapType::PerfEventArray && map.max_entries == 0;
    let attributes = MapCreate {
        map_type: map.map_type as u32,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: if per_cpu { 1024 } else { map.max_entries },
        map_flags: map.flags,
        inner_map_fd: inner.as_ref().map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    let made = bpf_fd(MAP_CREATE, &attributes)?;
    if let Some(initial) = &map.initial {
        let mut value = initial.to_vec();
        value.resize(map.value_size as usize, 0);
        let key = 0u32;
        let element = MapElement {
            map_fd: made.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &element)?;
        if map.frozen {
            bpf(MAP_FREEZE, &(made.as_raw_fd() as u32))?;
        }
    }
    Ok(made)
}

/// The verdict and the microseconds of each round by the kernel's own account; none if its verifier does
/// not get to see the program.
pub(crate) fn judge(program: &Program, rounds: usize) -> Option<(bool, Vec<f64>)> {
    let maps: Vec<OwnedFd> = program
        .maps
        .iter()
        .map(create)
        .collect::<io::Result<_>>()
        .ok()?;
    let fds: Vec<i32> = maps.iter().map(AsRawFd::as_raw_fd).collect();
    let insns: Vec<u8> = program
        .insns
        .iter()
        .flat_map(|insn| insn.to_le_bytes())
        .collect();
    let license = CString::new(program.license.as_str()).ok()?;
    let mut log = vec![0u8; LOG_BYTES];
    let attributes = ProgLoad {
        prog_type: program.prog_type as u32,
        insn_cnt: program.insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: LOG_STATS,
        log_size: LOG_BYTES as u32,
        log_buf: log.as_mut_ptr() as u64,
        expected_attach_type: program.attach_type.map_or(0, |attach| attach.0),
        fd_array: fds.as_ptr() as u64,
        ..ProgLoad::default()
    };
    let mut times = Vec::with_capacity(rounds);
    let mut accepted = false;
    for _ in 0..rounds {
        accepted = bpf_fd(PROG_LOAD, &attributes).is_ok();
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&log[..end]);
        let after = text.split("verification time ").nth(1)?;
        times.push(after.split_whitespace().next()?.parse().ok()?);
        log[0] = 0;
    }
    Some((accepted, times))
}
