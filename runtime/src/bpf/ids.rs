//! Enumeration of objects: `BPF_*_GET_NEXT_ID`, `BPF_*_GET_FD_BY_ID`.
//!
//! A user sees the objects of all of their own sessions, which is what the broker holds.

use std::sync::Arc;

use bpftime_abi::Errno;

use super::{Answer, Attr, Request};
use crate::broker::objects::Object;
use crate::broker::registry::Table;
use crate::notify::listener::Reply;

/// `start_id`, `next_id`, `open_flags`.
fn next<T>(request: &Request<'_>, attr: &Attr, table: &Table<T>) -> Answer {
    attr.check_end(8)?;
    if attr.u32(0) >= i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    request.session.broker.registry.sweep();
    let id = table.next_id(attr.u32(0)).ok_or(Errno::ENOENT)?;
    let next_id = request.call.args[1].wrapping_add(4);
    request.call.write(next_id, &id.to_le_bytes())?;
    Ok(Reply::Value(0))
}

/// `id`, `next_id`, `open_flags`.
fn by_id<T>(
    request: &Request<'_>,
    attr: &Attr,
    table: &Table<T>,
    object: impl Fn(Arc<T>) -> Object,
) -> Answer {
    attr.check_end(12)?;
    let found = table.get(attr.u32(0)).ok_or(Errno::ENOENT)?;
    request.handle(object(found))
}

/// `BPF_PROG_GET_NEXT_ID`.
pub fn next_program(request: &Request<'_>, attr: &Attr) -> Answer {
    next(request, attr, &request.session.broker.registry.programs)
}

/// `BPF_MAP_GET_NEXT_ID`.
pub fn next_map(request: &Request<'_>, attr: &Attr) -> Answer {
    next(request, attr, &request.session.broker.registry.maps)
}

/// `BPF_BTF_GET_NEXT_ID`.
pub fn next_btf(request: &Request<'_>, attr: &Attr) -> Answer {
    next(request, attr, &request.session.broker.registry.btfs)
}

/// `BPF_LINK_GET_NEXT_ID`.
pub fn next_link(request: &Request<'_>, attr: &Attr) -> Answer {
    next(request, attr, &request.session.broker.registry.links)
}

/// `BPF_PROG_GET_FD_BY_ID`.
pub fn program_fd(request: &Request<'_>, attr: &Attr) -> Answer {
    by_id(
        request,
        attr,
        &request.session.broker.registry.programs,
        Object::Program,
    )
}

/// `BPF_MAP_GET_FD_BY_ID`.
pub fn map_fd(request: &Request<'_>, attr: &Attr) -> Answer {
    by_id(
        request,
        attr,
        &request.session.broker.registry.maps,
        Object::Map,
    )
}

/// `BPF_BTF_GET_FD_BY_ID`.
pub fn btf_fd(request: &Request<'_>, attr: &Attr) -> Answer {
    by_id(
        request,
        attr,
        &request.session.broker.registry.btfs,
        Object::Btf,
    )
}

/// `BPF_LINK_GET_FD_BY_ID`.
pub fn link_fd(request: &Request<'_>, attr: &Attr) -> Answer {
    by_id(
        request,
        attr,
        &request.session.broker.registry.links,
        Object::Link,
    )
}
