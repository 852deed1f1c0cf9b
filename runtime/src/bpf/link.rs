//! Links: `BPF_LINK_CREATE`, `BPF_LINK_DETACH`; `BPF_PROG_BIND_MAP`.

use std::sync::Arc;

use bpftime_abi::Errno;
use bpftime_isa::ProgType;

use super::map_elem::map_of;
use super::{Answer, Attr, Request};
use crate::broker::event::EventKind;
use crate::broker::objects::{Link, Object};
use crate::broker::program::Program;
use crate::notify::listener::Reply;

/// `BPF_PERF_EVENT`.
const BPF_PERF_EVENT: u32 = 41;
/// `BPF_TRACE_KPROBE_MULTI` and `BPF_TRACE_UPROBE_MULTI`.
const MULTI: [u32; 2] = [42, 48];

/// The program behind a descriptor; `EINVAL` for other objects of ours.
pub fn program_of(request: &Request<'_>, fd: i32) -> Result<Arc<Program>, Errno> {
    match request.object(fd)? {
        Object::Program(program) => Ok(program),
        _ => Err(Errno::EINVAL),
    }
}

/// `BPF_LINK_CREATE`: `prog_fd`, `target_fd`, `attach_type`, `flags`, `perf_event.bpf_cookie`.
pub fn create(request: &Request<'_>, attr: &Attr) -> Answer {
    let attach_type = attr.u32(8);
    let program = program_of(request, attr.i32(0))?;
    if MULTI.contains(&attach_type) {
        return Err(Errno::EOPNOTSUPP);
    }
    let traces = matches!(
        program.prog_type,
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent
    );
    if attach_type != BPF_PERF_EVENT || !traces {
        return Err(Errno::EINVAL);
    }
    if attr.u32(12) != 0 {
        return Err(Errno::EINVAL);
    }
    let event = request.event(attr.i32(4))?;
    check_fits(&program, &event.kind)?;
    let broker = &request.session.broker;
    let cookie = attr.u64(16);
    let link = broker.registry.links.insert(|id| {
        Ok::<_, Errno>(Link {
            id,
            program,
            event,
            cookie,
        })
    })?;
    if link.event.is_enabled()
        && let Err(sentence) = broker.apply(&link.event)
    {
        request.session.say(&sentence);
        return Err(Errno::EINVAL);
    }
    request.handle(Object::Link(link))
}

/// `EINVAL` unless the program's type fits the event.
pub fn check_fits(program: &Program, event: &EventKind) -> Result<(), Errno> {
    let fits = match event {
        EventKind::Uprobe(_) => program.prog_type == ProgType::Kprobe,
        EventKind::Clock => program.prog_type == ProgType::PerfEvent,
        EventKind::Output(_) => false,
    };
    if fits { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `BPF_LINK_DETACH`: perf links cannot be detached by it, as in the kernel.
pub fn detach(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(4)?;
    match request.object(attr.i32(0))? {
        Object::Link(_) => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// `BPF_PROG_BIND_MAP`: `prog_fd`, `map_fd`, `flags`.
pub fn bind_map(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(12)?;
    if attr.u32(8) != 0 {
        return Err(Errno::EINVAL);
    }
    let program = program_of(request, attr.i32(0))?;
    let map = map_of(request, attr.i32(4))?;
    let used = program.maps.iter().any(|known| Arc::ptr_eq(known, &map));
    let mut bound = program.bound();
    if !used && !bound.iter().any(|known| Arc::ptr_eq(known, &map)) {
        bound.push(map);
    }
    Ok(Reply::Value(0))
}
