//! `epoll_ctl` on maps and output rings.
//!
//! A memory file cannot be waited for, so the broker puts an eventfd of its own in the tool's
//! `epoll` instance, in the map's place and with the tool's event data.

use std::os::fd::AsRawFd;

use bpftime_abi::MapType;
use nix::sys::eventfd::EventFd;

use super::{Answer, Request};
use crate::broker::event::EventKind;
use crate::broker::objects::Object;
use crate::broker::wakeup;
use crate::notify::listener::Reply;

/// Bytes of `struct epoll_event`, which is packed on x86-64.
const EVENT_BYTES: usize = 12;

/// Answers `epoll_ctl(epfd, op, fd, event)`.
pub fn control(request: &Request<'_>) -> Answer {
    let [epfd, op, fd, event, ..] = request.call.args;
    // A descriptor that is none of ours is the kernel's business, and so are its errors.
    let Ok(object) = request.object(fd as i32) else {
        return Ok(Reply::Native);
    };
    match object {
        Object::Map(map) if map.geometry().map_type == MapType::RingBuf => {
            wakeup::watch(&map);
            change(request, epfd, op, &map.wake, event)
        }
        Object::Event(perf) => match &perf.kind {
            EventKind::Output(ring) => change(request, epfd, op, &ring.wake, event),
            _ => Ok(Reply::Native),
        },
        _ => Ok(Reply::Native),
    }
}

fn change(request: &Request<'_>, epfd: u64, op: u64, wake: &EventFd, event: u64) -> Answer {
    let op = op as i32;
    let mut entry = libc::epoll_event { events: 0, u64: 0 };
    if op != libc::EPOLL_CTL_DEL {
        let mut bytes = [0; EVENT_BYTES];
        request.call.read(event, &mut bytes)?;
        let [e0, e1, e2, e3, data @ ..] = bytes;
        let events = u32::from_le_bytes([e0, e1, e2, e3]);
        entry.events = events | libc::EPOLLET as u32;
        entry.u64 = u64::from_le_bytes(data);
    }
    let epoll = request.call.fd(epfd as i32)?;
    // SAFETY: the kernel reads one `epoll_event`.
    let result =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), op, wake.as_raw_fd(), &raw mut entry) };
    if result < 0 {
        return Err(crate::sys::errno_of(&std::io::Error::last_os_error()));
    }
    if op == libc::EPOLL_CTL_ADD {
        // What was written before is reported too; a needless wake-up does no harm.
        wakeup::raise(wake);
    }
    Ok(Reply::Value(0))
}
