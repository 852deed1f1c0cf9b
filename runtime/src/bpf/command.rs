//! Numbers of commands, and which function answers which.

use bpftime_abi::Errno;

use super::{Answer, Attr, Request};
use super::{btf_load, ids, info, link, map_batch, map_create, map_elem, prog_load};

/// Answers `bpf(command, attr, size)`.
pub fn answer(request: &Request<'_>, command: u64, attr: u64, size: u64) -> Answer {
    // The kernel takes command and size as 32-bit integers.
    let (command, size) = (command as u32, size & 0xffff_ffff);
    let attr = Attr::read(request.call, attr, size)?;
    match command {
        0 => map_create::create(request, &attr),
        1 => map_elem::lookup(request, &attr),
        2 => map_elem::update(request, &attr),
        3 => map_elem::delete(request, &attr),
        4 => map_elem::next_key(request, &attr),
        5 => prog_load::load(request, &attr, size),
        11 => ids::next_program(request, &attr),
        12 => ids::next_map(request, &attr),
        13 => ids::program_fd(request, &attr),
        14 => ids::map_fd(request, &attr),
        15 => info::object_info(request, &attr),
        17 => {
            request.session.say(
                "raw tracepoints are places in the kernel, which programs that run in user \
                 space never pass",
            );
            Err(Errno::EOPNOTSUPP)
        }
        18 => btf_load::load(request, &attr),
        19 => ids::btf_fd(request, &attr),
        21 => map_elem::lookup_and_delete(request, &attr),
        22 => map_elem::freeze(request, &attr),
        23 => ids::next_btf(request, &attr),
        24 => map_batch::lookup(request, &attr),
        25 => map_batch::lookup_and_delete(request, &attr),
        26 => map_batch::update(request, &attr),
        27 => map_batch::delete(request, &attr),
        28 => link::create(request, &attr),
        30 => ids::link_fd(request, &attr),
        31 => ids::next_link(request, &attr),
        34 => link::detach(request, &attr),
        35 => link::bind_map(request, &attr),
        _ => Err(Errno::EINVAL),
    }
}
