//! `BPF_OBJ_GET_INFO_BY_FD`.

use std::os::unix::ffi::OsStrExt;

use bpftime_abi::Errno;

use super::{Answer, Attr, Request};
use crate::broker::map::Map;
use crate::broker::objects::{Btf, Link, Object};
use crate::broker::program::Program;
use crate::notify::listener::Reply;
use crate::sys::errno_of;

/// A structure of the kernel's, filled field by field.
struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// A zeroed structure.
    fn new(len: usize) -> Self {
        Self {
            bytes: vec![0; len],
        }
    }

    /// Sets a field; offsets are constants of this file, all inside.
    fn put(&mut self, offset: usize, field: &[u8]) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(offset..offset + field.len()) {
            place.copy_from_slice(field);
        }
        self
    }

    fn u32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.put(offset, &value.to_le_bytes())
    }

    fn u64(&mut self, offset: usize, value: u64) -> &mut Self {
        self.put(offset, &value.to_le_bytes())
    }

    fn name(&mut self, offset: usize, name: &str) -> &mut Self {
        self.put(offset, &name.as_bytes()[..name.len().min(15)])
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD`: `bpf_fd`, `info_len`, `info`.
pub fn object_info(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(16)?;
    let object = request.object(attr.i32(0))?;
    let (given, address) = (attr.u32(4) as usize, attr.u64(8));
    if given > 4096 {
        return Err(Errno::E2BIG);
    }
    // What the tool put there: pointers to buffers that it wants filled.
    let wanted = request.call.read_vec(address, given)?;
    let record = match &object {
        Object::Map(map) => map_info(map),
        Object::Program(program) => program_info(request, program, &wanted)?,
        Object::Btf(btf) => btf_info(request, btf, &wanted)?,
        Object::Link(link) => link_info(request, link, &wanted)?,
        Object::Event(_) => return Err(Errno::EINVAL),
    };
    if wanted
        .iter()
        .skip(record.bytes.len())
        .any(|byte| *byte != 0)
    {
        return Err(Errno::E2BIG);
    }
    let len = record.bytes.len().min(given);
    request.call.write(address, &record.bytes[..len])?;
    let length_field = request.call.args[1].wrapping_add(4);
    request
        .call
        .write(length_field, &(len as u32).to_le_bytes())?;
    Ok(Reply::Value(0))
}

fn word(bytes: &[u8], offset: usize) -> u32 {
    bytes
        .get(offset..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

fn address(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b))
}

/// `struct bpf_map_info`.
fn map_info(map: &Map) -> Record {
    let geometry = map.geometry();
    let description = &map.description;
    let mut record = Record::new(88);
    record
        .u32(0, geometry.map_type as u32)
        .u32(4, map.id)
        .u32(8, geometry.key_size)
        .u32(12, geometry.value_size)
        .u32(16, geometry.max_entries)
        .u32(20, geometry.flags)
        .name(24, &description.name)
        .u32(64, description.btf.as_ref().map_or(0, |btf| btf.id))
        .u32(68, description.key_type)
        .u32(72, description.value_type)
        .u64(80, description.extra);
    record
}

/// `struct bpf_prog_info`.
fn program_info(request: &Request<'_>, program: &Program, wanted: &[u8]) -> Result<Record, Errno> {
    let bound = program.bound();
    let ids: Vec<u8> = program
        .maps
        .iter()
        .chain(bound.iter())
        .flat_map(|map| map.id.to_le_bytes())
        .collect();
    let count = (ids.len() / 4) as u32;
    let room = word(wanted, 52);
    let buffer = address(wanted, 56);
    if room != 0 && buffer != 0 {
        let len = ids.len().min(room as usize * 4);
        request.call.write(buffer, &ids[..len])?;
    }
    // Instructions and machine code, where the tool has room for them.
    let shown = program.shown.as_slice();
    let (xlated_len, xlated) = (word(wanted, 20) as usize, address(wanted, 32));
    request
        .call
        .write(xlated, shown.get(..xlated_len).unwrap_or(shown))?;
    let (jited_len, jited) = (word(wanted, 16) as usize, address(wanted, 24));
    if let Some(code) = &program.code
        && jited_len != 0
    {
        let bytes = code.read(jited_len).map_err(|error| errno_of(&error))?;
        request.call.write(jited, &bytes)?;
    }
    let mut record = Record::new(232);
    record
        .u32(0, program.prog_type as u32)
        .u32(4, program.id)
        .put(8, &program.tag)
        .u32(16, program.code.as_ref().map_or(0, |code| code.len as u32))
        .u32(20, shown.len() as u32)
        .u64(24, jited)
        .u64(32, xlated)
        .u64(40, program.load_time)
        .u32(48, nix::unistd::getuid().as_raw())
        .u32(52, count)
        .u64(56, buffer)
        .name(64, &program.name)
        .u32(84, program.gpl_compatible.into())
        .u32(128, program.btf.as_ref().map_or(0, |btf| btf.id))
        .u32(
            216,
            u32::try_from(program.verified_insns).unwrap_or(u32::MAX),
        );
    Ok(record)
}

/// `struct bpf_btf_info`.
fn btf_info(request: &Request<'_>, btf: &Btf, wanted: &[u8]) -> Result<Record, Errno> {
    let (buffer, room) = (address(wanted, 0), word(wanted, 8) as usize);
    if buffer != 0 && room != 0 {
        let len = btf.blob.len().min(room);
        request.call.write(buffer, &btf.blob[..len])?;
    }
    let mut record = Record::new(32);
    record
        .u64(0, buffer)
        .u32(8, btf.blob.len() as u32)
        .u32(12, btf.id)
        .u64(16, address(wanted, 16));
    Ok(record)
}

/// `struct bpf_link_info` of a perf link.
fn link_info(request: &Request<'_>, link: &Link, wanted: &[u8]) -> Result<Record, Errno> {
    /// `BPF_LINK_TYPE_PERF_EVENT`.
    const PERF_EVENT: u32 = 7;
    /// `BPF_PERF_EVENT_UPROBE` and `BPF_PERF_EVENT_URETPROBE`.
    const UPROBE: u32 = 1;
    const URETPROBE: u32 = 2;

    let mut record = Record::new(64);
    record
        .u32(0, PERF_EVENT)
        .u32(4, link.id)
        .u32(8, link.program.id);
    if let Some(uprobe) = link.event.uprobe() {
        let (buffer, room) = (address(wanted, 24), word(wanted, 32) as usize);
        let mut name = uprobe.path.as_os_str().as_bytes().to_vec();
        name.push(0);
        if buffer != 0 && room != 0 {
            if name.len() > room {
                return Err(Errno::ENOSPC);
            }
            request.call.write(buffer, &name)?;
        }
        record
            .u32(16, if uprobe.at_return { URETPROBE } else { UPROBE })
            .u64(24, buffer)
            .u32(32, name.len() as u32)
            .u32(36, uprobe.offset as u32)
            .u64(40, link.cookie);
    }
    Ok(record)
}
