//! `perf_event_open` and the `ioctl`s of perf events.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::Errno;
use bpftime_maps::PerfRing;

use super::link::{check_fits, program_of};
use super::paths::UPROBE_PMU;
use super::{Answer, Request};
use crate::broker::event::{Event, EventKind, OutputRing, Uprobe};
use crate::broker::map::Map;
use crate::broker::objects::Object;
use crate::broker::wakeup;
use crate::notify::listener::Reply;
use crate::sys::file::{fixed_memfd, reopen};
use crate::sys::mapping::{Mapping, mappings_of};
use crate::sys::{errno_of, process};

/// `PERF_TYPE_SOFTWARE`.
const SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_CPU_CLOCK`.
const SW_CPU_CLOCK: u64 = 0;
/// `PERF_COUNT_SW_BPF_OUTPUT`.
const SW_BPF_OUTPUT: u64 = 10;
/// Bytes of the first version of `struct perf_event_attr`.
const FIRST_SIZE: u32 = 64;
/// Bytes of the structure that are looked at.
const KNOWN_SIZE: usize = 64;
/// `PERF_FLAG_FD_CLOEXEC`.
const FD_CLOEXEC: u64 = 8;
/// Most bytes of an output ring. The file is sparse: pages that are not used cost nothing.
const MAX_RING: u64 = 256 << 20;
/// Bytes of the ring's control page.
const PAGE: u64 = 4096;

/// The fields of `struct perf_event_attr` that count here.
struct EventAttr {
    kind: u32,
    config: u64,
    disabled: bool,
    config1: u64,
}

impl EventAttr {
    fn read(request: &Request<'_>, address: u64) -> Result<Self, Errno> {
        let mut head = [0; 8];
        request.call.read(address, &mut head)?;
        let [k0, k1, k2, k3, s0, s1, s2, s3] = head;
        let size = match u32::from_le_bytes([s0, s1, s2, s3]) {
            0 => FIRST_SIZE,
            size => size,
        };
        if !(FIRST_SIZE..=PAGE as u32).contains(&size) {
            return Err(Errno::E2BIG);
        }
        let bytes = request.call.read_vec(address, KNOWN_SIZE)?;
        let long = |at: usize| {
            bytes
                .get(at..)
                .and_then(|b| b.first_chunk())
                .map_or(0, |b| u64::from_le_bytes(*b))
        };
        Ok(Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            config: long(8),
            disabled: long(40) & 1 != 0,
            config1: long(56),
        })
    }
}

/// Answers `perf_event_open(attr, pid, cpu, group_fd, flags)`.
pub fn open(request: &Request<'_>) -> Answer {
    let [attr, pid, cpu, _group, flags, _] = request.call.args;
    let attr_address = attr;
    let attr = EventAttr::read(request, attr)?;
    let (pid, cpu) = (pid as i32, cpu as i32);
    if pid == -1 && cpu == -1 {
        return Err(Errno::EINVAL);
    }
    let kind = match (attr.kind, attr.config) {
        (UPROBE_PMU, _) => {
            // `config2` lies right behind the first version of the structure.
            let mut offset = [0; 8];
            request
                .call
                .read(attr_address.wrapping_add(64), &mut offset)?;
            EventKind::Uprobe(uprobe(request, &attr, u64::from_le_bytes(offset), pid)?)
        }
        (SOFTWARE, SW_BPF_OUTPUT) => {
            if cpu >= request.session.broker.cpus as i32 {
                return Err(Errno(libc::ENODEV));
            }
            EventKind::Output(output_ring()?)
        }
        (SOFTWARE, SW_CPU_CLOCK) => EventKind::Clock,
        _ => return Err(Errno::ENOENT),
    };
    let enabled = !attr.disabled;
    let event = request
        .session
        .broker
        .registry
        .events
        .insert(|number| Ok::<_, Errno>(Event::new(number, kind, enabled)))?;
    match request.handle(Object::Event(event))? {
        Reply::Fd { fd, .. } => Ok(Reply::Fd {
            fd,
            cloexec: flags & FD_CLOEXEC != 0,
        }),
        other => Ok(other),
    }
}

fn uprobe(request: &Request<'_>, attr: &EventAttr, offset: u64, pid: i32) -> Result<Uprobe, Errno> {
    let pid = match pid {
        -1 => None,
        0 => Some(process::tgid_of(request.call.tid).map_err(|error| errno_of(&error))?),
        pid => Some(pid),
    };
    if let Some(pid) = pid {
        let owner = process::uid_of(pid).map_err(|_| Errno(libc::ESRCH))?;
        if owner != nix::unistd::getuid().as_raw() {
            return Err(Errno::EACCES);
        }
    }
    if attr.config1 == 0 {
        return Err(Errno::EINVAL);
    }
    let path = request.call.read_path(attr.config1)?;
    let path = file_path(request, Path::new(std::ffi::OsStr::from_bytes(&path)))?;
    let len = std::fs::metadata(&path)
        .map_err(|error| errno_of(&error))?
        .len();
    if offset > len {
        return Err(Errno::EINVAL);
    }
    Ok(Uprobe {
        path,
        offset,
        at_return: attr.config & 1 != 0,
        pid,
    })
}

/// The file that a path means to the tool, without symbolic links.
fn file_path(request: &Request<'_>, path: &Path) -> Result<PathBuf, Errno> {
    let io = |error: std::io::Error| errno_of(&error);
    let tid = request.call.tid;
    let own = ["/proc/self", "/proc/thread-self"]
        .iter()
        .find_map(|own| path.strip_prefix(own).ok());
    let seen = if let Some(rest) = own {
        // The tool's own, not the broker's.
        PathBuf::from(format!("/proc/{tid}")).join(rest)
    } else if path.is_absolute() {
        PathBuf::from(format!("/proc/{tid}/root")).join(path.strip_prefix("/").unwrap_or(path))
    } else {
        PathBuf::from(format!("/proc/{tid}/cwd")).join(path)
    };
    let file = std::fs::File::open(seen).map_err(io)?;
    request.call.check_valid()?;
    if !file.metadata().map_err(io)?.is_file() {
        return Err(Errno::EINVAL);
    }
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(io)
}

fn output_ring() -> Result<OutputRing, Errno> {
    let io = |error: std::io::Error| errno_of(&error);
    let memory = fixed_memfd("bpftime-perf", PAGE + MAX_RING).map_err(io)?;
    let lease = reopen(&memory, true).map_err(io)?;
    Ok(OutputRing {
        memory,
        lease,
        wake: wakeup::event_fd()?,
        data_len: AtomicU64::new(0),
    })
}

/// `MAP_UPDATE_ELEM` of a perf event array: the value is a descriptor of an output ring.
pub fn store_ring(request: &Request<'_>, map: &Arc<Map>, key: &[u8], value: &[u8]) -> Answer {
    let (Some(index), Some(fd)) = (key.first_chunk(), value.first_chunk()) else {
        return Err(Errno::EINVAL);
    };
    let event = request.event(i32::from_le_bytes(*fd))?;
    let EventKind::Output(ring) = &event.kind else {
        return Err(Errno::EINVAL);
    };
    let mappings = mappings_of(request.call.tid, &ring.memory);
    request.call.check_valid()?;
    let len = mappings
        .map_err(|e| errno_of(&e))?
        .iter()
        .map(|mapping| mapping.len)
        .max()
        .unwrap_or(0);
    if len > PAGE && (len - PAGE).is_power_of_two() && len - PAGE <= MAX_RING {
        let data_len = len - PAGE;
        let view = Mapping::new(&ring.memory, PAGE as usize, true).map_err(|e| errno_of(&e))?;
        // SAFETY: `format` writes the first page only, which is mapped writable.
        unsafe { PerfRing::format(view.as_ptr(), data_len) };
        ring.data_len.store(data_len, Ordering::Release);
    } else {
        request
            .session
            .say("an output ring must be mapped before it is put into a map");
        return Err(Errno::EINVAL);
    }
    map.set_ring(u32::from_le_bytes(*index), Some(event))?;
    wakeup::watch(map);
    request.session.broker.maps_changed();
    Ok(Reply::Value(0))
}

/// `MAP_DELETE_ELEM` of a perf event array.
pub fn remove_ring(request: &Request<'_>, map: &Map, key: &[u8]) -> Answer {
    let index = key.first_chunk().ok_or(Errno::EINVAL)?;
    map.set_ring(u32::from_le_bytes(*index), None)?;
    request.session.broker.maps_changed();
    Ok(Reply::Value(0))
}

/// Numbers of the `ioctl`s (`PERF_EVENT_IOC_*`).
mod number {
    pub(super) const ENABLE: u32 = 0x2400;
    pub(super) const DISABLE: u32 = 0x2401;
    pub(super) const ID: u32 = 0x8008_2407;
    pub(super) const SET_BPF: u32 = 0x4004_2408;
}

/// Answers `ioctl(fd, command, argument)` with a command of perf events.
pub fn ioctl(request: &Request<'_>) -> Answer {
    let [fd, command, argument, ..] = request.call.args;
    let Ok(Object::Event(event)) = request.object(fd as i32) else {
        return Ok(Reply::Native);
    };
    let broker = &request.session.broker;
    match command as u32 {
        number::ENABLE => {
            event.set_enabled(true);
            apply(request, &event)
        }
        number::DISABLE => {
            event.set_enabled(false);
            apply(request, &event)
        }
        number::ID => {
            request
                .call
                .write(argument, &u64::from(event.number).to_le_bytes())?;
            Ok(Reply::Value(0))
        }
        number::SET_BPF => {
            let program = program_of(request, argument as i32)?;
            check_fits(&program, &event.kind)?;
            let linked = broker.registry.links.all();
            let taken = linked.iter().any(|link| Arc::ptr_eq(&link.event, &event));
            if taken || !event.set_program(program) {
                return Err(Errno::EEXIST);
            }
            if event.is_enabled() {
                apply(request, &event)
            } else {
                Ok(Reply::Value(0))
            }
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Brings the targets in line with an event; tells the user why that fails.
fn apply(request: &Request<'_>, event: &Arc<Event>) -> Answer {
    match request.session.broker.apply(event) {
        Ok(()) => Ok(Reply::Value(0)),
        Err(sentence) => {
            request.session.say(&sentence);
            Err(Errno::EINVAL)
        }
    }
}
