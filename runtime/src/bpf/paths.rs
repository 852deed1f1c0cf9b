//! Files of sysfs and tracefs that tools look at.
//!
//! Where the kernel has uprobes these files exist and say something else; tools must see the
//! broker's answers, because it is the broker that answers `perf_event_open`. All other paths run
//! natively.

use std::io;
use std::os::fd::OwnedFd;

use bpftime_abi::Errno;

use super::{Answer, Request};
use crate::notify::listener::Reply;
use crate::sys::errno_of;
use crate::sys::file::{reopen, sealed_memfd};

/// Number of the uprobe PMU in `perf_event_attr.type`; beyond those that kernels give.
pub const UPROBE_PMU: u32 = 0x4250;

/// The contents of an emulated file.
fn contents(path: &[u8], cpus: u32) -> Option<String> {
    let text = match path {
        b"/sys/bus/event_source/devices/uprobe/type" => format!("{UPROBE_PMU}\n"),
        b"/sys/bus/event_source/devices/uprobe/format/retprobe" => "config:0\n".to_owned(),
        b"/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset" => {
            "config:32-63\n".to_owned()
        }
        b"/sys/devices/system/cpu/possible" | b"/sys/devices/system/cpu/online" if cpus == 1 => {
            "0\n".to_owned()
        }
        b"/sys/devices/system/cpu/possible" | b"/sys/devices/system/cpu/online" => {
            format!("0-{}\n", cpus - 1)
        }
        // Probes made by writing to it: there are none.
        b"/sys/kernel/tracing/uprobe_events" | b"/sys/kernel/debug/tracing/uprobe_events" => {
            String::new()
        }
        _ => return None,
    };
    Some(text)
}

/// Bytes of an emulated file, as `stat` tells them.
fn size(path: &[u8], cpus: u32) -> Option<usize> {
    if is_trace_pipe(path) {
        return Some(0);
    }
    contents(path, cpus).map(|text| text.len())
}

/// Whether a file gives what programs print.
fn is_trace_pipe(path: &[u8]) -> bool {
    matches!(
        path,
        b"/sys/kernel/tracing/trace_pipe" | b"/sys/kernel/debug/tracing/trace_pipe"
    )
}

/// Answers `open`, `openat` and `openat2`, given the address of the path and the flags.
pub fn open(request: &Request<'_>, path: u64, flags: impl Fn() -> Result<u64, Errno>) -> Answer {
    let Ok(path) = request.call.read_path(path) else {
        return Ok(Reply::Native);
    };
    let broker = &request.session.broker;
    let text = contents(&path, broker.cpus);
    if text.is_none() && !is_trace_pipe(&path) {
        return Ok(Reply::Native);
    }
    let flags = flags()?;
    if flags & libc::O_ACCMODE as u64 != libc::O_RDONLY as u64 {
        return Err(Errno::EACCES);
    }
    let fd = match text {
        Some(text) => file_with(&text).map_err(|error| errno_of(&error))?,
        None => broker.trace.open(flags & libc::O_NONBLOCK as u64 != 0)?,
    };
    Ok(Reply::Fd {
        fd,
        cloexec: flags & libc::O_CLOEXEC as u64 != 0,
    })
}

/// A new open file with this text: its position is at the start, and it cannot be written.
fn file_with(text: &str) -> io::Result<OwnedFd> {
    reopen(sealed_memfd("bpftime-sysfs", text.as_bytes())?, false)
}

/// Flags of `openat2`, in `struct open_how`.
pub fn open_how_flags(request: &Request<'_>, how: u64) -> Result<u64, Errno> {
    let mut flags = [0; 8];
    request.call.read(how, &mut flags)?;
    Ok(u64::from_le_bytes(flags))
}

/// Answers `access` and its kin: an emulated file exists and can be read.
pub fn access(request: &Request<'_>, path: u64, mode: u64) -> Answer {
    let Ok(path) = request.call.read_path(path) else {
        return Ok(Reply::Native);
    };
    if size(&path, request.session.broker.cpus).is_none() {
        return Ok(Reply::Native);
    }
    let unwanted = (libc::W_OK | libc::X_OK) as u64;
    if mode & unwanted != 0 {
        Err(Errno::EACCES)
    } else {
        Ok(Reply::Value(0))
    }
}

/// Answers `stat` and its kin; an emulated file is a small regular file.
pub fn stat(request: &Request<'_>, path: u64, buffer: u64) -> Answer {
    let Ok(path) = request.call.read_path(path) else {
        return Ok(Reply::Native);
    };
    let Some(size) = size(&path, request.session.broker.cpus) else {
        return Ok(Reply::Native);
    };
    // `struct stat` of x86-64: mode at 24, size at 48, block size at 56; 144 bytes.
    let mut bytes = [0; 144];
    bytes[16..24].copy_from_slice(&1u64.to_le_bytes());
    bytes[24..28].copy_from_slice(&(libc::S_IFREG | 0o444).to_le_bytes());
    bytes[48..56].copy_from_slice(&(size as u64).to_le_bytes());
    bytes[56..64].copy_from_slice(&4096u64.to_le_bytes());
    request.call.write(buffer, &bytes)?;
    Ok(Reply::Value(0))
}

/// Answers `statx`.
pub fn statx(request: &Request<'_>, path: u64, buffer: u64) -> Answer {
    let Ok(path) = request.call.read_path(path) else {
        return Ok(Reply::Native);
    };
    let Some(size) = size(&path, request.session.broker.cpus) else {
        return Ok(Reply::Native);
    };
    // `struct statx`: mask at 0, block size at 4, links at 16, mode at 28, size at 40; 256 bytes.
    let mut bytes = [0; 256];
    let mask = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_NLINK | libc::STATX_SIZE;
    bytes[..4].copy_from_slice(&mask.to_le_bytes());
    bytes[4..8].copy_from_slice(&4096u32.to_le_bytes());
    bytes[16..20].copy_from_slice(&1u32.to_le_bytes());
    bytes[28..30].copy_from_slice(&((libc::S_IFREG | 0o444) as u16).to_le_bytes());
    bytes[40..48].copy_from_slice(&(size as u64).to_le_bytes());
    request.call.write(buffer, &bytes)?;
    Ok(Reply::Value(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_list_has_one_entry_per_lease() {
        let list = |cpus| contents(b"/sys/devices/system/cpu/possible", cpus);
        assert_eq!(list(1).as_deref(), Some("0\n"));
        assert_eq!(list(16).as_deref(), Some("0-15\n"));
    }

    #[test]
    fn other_paths_are_native() {
        for path in [
            &b"/etc/passwd"[..],
            b"",
            b"/sys/devices/system/cpu/possible/",
            b"/sys/kernel/tracing/trace",
        ] {
            assert_eq!(size(path, 4), None);
        }
    }
}
