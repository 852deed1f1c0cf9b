//! `BPF_PROG_LOAD`: slots of a tool become a verified, compiled program.

use std::sync::{Arc, Mutex};

use bpftime_abi::Errno;
use bpftime_isa::{AttachType, Hook, Insn, LineInfo, ProgType, Program as Unverified, Subprogram};
use bpftime_verifier::{Options, VerifiedProgram, verify};

use super::map_create::btf_of;
use super::map_elem::map_of;
use super::{Answer, Attr, Request, btf, xlated};
use crate::broker::map::Map;
use crate::broker::objects::{Btf, Object};
use crate::broker::program::{Code, Program};
use crate::sys::errno_of;
use crate::sys::file::sealed_memfd;

/// Most slots of a program (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MAX_SLOTS: u32 = 1_000_000;
/// Most maps of a program (`MAX_USED_MAPS`).
const MAX_MAPS: usize = 64;
/// Flags that the kernel knows (`BPF_F_STRICT_ALIGNMENT` .. `BPF_F_TOKEN_FD`).
const KNOWN_FLAGS: u32 = 0x1_00ff;
/// The program may sleep.
const BPF_F_SLEEPABLE: u32 = 1 << 4;
/// End of the last field that is accepted (`fd_array_cnt`).
const END: usize = 152;
/// A function's name is shorter, as in the kernel (`KSYM_NAME_LEN`).
const MAX_NAME: usize = 512;
/// Most bytes of source lines of a program; what is over it is left out. Many records may name one
/// long string, of which each keeps a copy.
const MAX_TEXT: usize = 64 << 20;

/// `BPF_PSEUDO_*` in the source register of a 64-bit immediate load.
pub(super) mod pseudo {
    pub(in crate::bpf) const MAP_FD: u8 = 1;
    pub(in crate::bpf) const MAP_VALUE: u8 = 2;
    pub(in crate::bpf) const FUNC: u8 = 4;
    pub(in crate::bpf) const MAP_IDX: u8 = 5;
    pub(in crate::bpf) const MAP_IDX_VALUE: u8 = 6;
    /// In the source register of a call.
    pub(in crate::bpf) const CALL: u8 = 1;
}

/// Operation of a 64-bit immediate load.
pub(super) const LOAD_IMM64: u8 = 0x18;

/// `BPF_PROG_LOAD`; `size` is the size of the attr that the tool gave.
pub fn load(request: &Request<'_>, attr: &Attr, size: u64) -> Answer {
    attr.check_end(END)?;
    let log = Log::new(attr, size)?;
    if attr.u32(44) & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let license = license(request, attr.u64(16))?;
    let slots = attr.u32(4);
    if slots == 0 || slots > MAX_SLOTS {
        return Err(Errno::E2BIG);
    }
    let prog_type = ProgType::from_u32(attr.u32(0))
        .filter(|kind| *kind != ProgType::Unspec)
        .ok_or(Errno::EINVAL)?;
    let name = attr.object_name(48)?;
    let bytes = request
        .call
        .read_vec(attr.u64(8), slots as usize * Insn::SIZE)?;
    let mut insns: Vec<Insn> = bytes
        .chunks_exact(Insn::SIZE)
        .map(|slot| Insn::from_le_bytes(slot.try_into().unwrap_or_default()))
        .collect();
    let tag = xlated::tag(&insns);
    let maps = match resolve_maps(request, attr, &mut insns) {
        Ok(maps) => maps,
        Err((errno, text)) => {
            log.write(request, &text)?;
            return Err(errno);
        }
    };
    let ids: Vec<u32> = maps.iter().map(|map| map.id).collect();
    let shown = xlated::shown(&insns, &ids);
    let types = match attr.i32(72) {
        0 => None,
        fd => Some(btf_of(request, fd)?),
    };
    let (subprograms, lines) = match &types {
        Some(types) => debug_info(request, attr, types, slots)?,
        None => (Vec::new(), Vec::new()),
    };
    let attach_type = Some(attr.u32(68)).filter(|kind| *kind != 0).map(AttachType);
    let program = Unverified {
        name: name.clone(),
        section: String::new(),
        prog_type,
        attach_type,
        hook: Hook {
            sleepable: attr.u32(44) & BPF_F_SLEEPABLE != 0,
            ..Hook::default()
        },
        license,
        insns,
        maps: maps.iter().map(|map| map.definition()).collect(),
        subprograms,
        lines,
        objects: [].into(),
        on_throw: bpftime_isa::OnThrow::Ends,
    };
    // What is known of registers makes the code better.
    let options = Options {
        record_operands: true,
        ..Options::new(request.session.broker.capabilities)
    };
    let verified = match guarded(|| verify(program, &options)) {
        Some(Ok(verified)) => verified,
        Some(Err(rejection)) => {
            tracing::info!("program {name:?} rejected: {rejection}");
            log.write(request, &rejection.kernel_log())?;
            return Err(rejection.errno());
        }
        None => {
            log.write(request, "the verifier failed to judge the program\n")?;
            return Err(Errno::EINVAL);
        }
    };
    let code = match guarded(|| compile(&verified)) {
        Some(Ok(code)) => code,
        Some(Err(text)) => {
            tracing::warn!("program {name:?} cannot be compiled: {text}");
            log.write(request, &format!("{text}\n"))?;
            return Err(Errno::EOPNOTSUPP);
        }
        None => {
            log.write(request, "the compiler failed on the program\n")?;
            return Err(Errno::EOPNOTSUPP);
        }
    };
    let steps = verified.facts().cost.steps;
    log.write(request, &format!("processed {steps} insns\n"))?;
    let program = request.session.broker.registry.programs.insert(|id| {
        Ok::<_, Errno>(Program {
            id,
            name,
            prog_type,
            tag,
            shown,
            gpl_compatible: is_gpl_compatible(&verified.program().license),
            load_time: boot_time(),
            verified_insns: steps,
            code,
            maps,
            btf: types,
            bound: Mutex::default(),
        })
    })?;
    request.handle(Object::Program(program))
}

/// The tool's buffer for the verifier's log.
struct Log {
    wanted: bool,
    buffer: u64,
    len: u32,
    /// Whether the tool's attr has the field for the length of the whole log.
    tells_length: bool,
}

impl Log {
    fn new(attr: &Attr, size: u64) -> Result<Self, Errno> {
        let (level, len, buffer) = (attr.u32(24), attr.u32(28), attr.u64(32));
        let consistent = (buffer != 0) == (len != 0) && (buffer == 0 || level != 0);
        if !consistent || level & !15 != 0 || len > u32::MAX >> 2 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            wanted: level != 0,
            buffer,
            len,
            tells_length: size >= 144,
        })
    }

    /// Gives the tool the log. A log that does not fit loses its beginning, as with Linux 6.4
    /// and later, and makes the call fail with `ENOSPC`.
    fn write(&self, request: &Request<'_>, text: &str) -> Result<(), Errno> {
        if !self.wanted {
            return Ok(());
        }
        let whole = text.len() + 1;
        if self.tells_length {
            let field = request.call.args[1].wrapping_add(140);
            request.call.write(field, &(whole as u32).to_le_bytes())?;
        }
        if self.buffer == 0 {
            return Ok(());
        }
        let keep = whole.min(self.len as usize) - 1;
        let mut bytes = text.as_bytes()[text.len() - keep..].to_vec();
        bytes.push(0);
        request.call.write(self.buffer, &bytes)?;
        if whole > self.len as usize {
            Err(Errno::ENOSPC)
        } else {
            Ok(())
        }
    }
}

/// The licence: at most 127 bytes are looked at, as in the kernel.
fn license(request: &Request<'_>, address: u64) -> Result<String, Errno> {
    let mut bytes = request.call.read_path(address)?;
    bytes.truncate(127);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The kernel's `license_is_gpl_compatible`.
#[doc(alias = "license_is_gpl_compatible")]
fn is_gpl_compatible(license: &str) -> bool {
    const COMPATIBLE: [&str; 6] = [
        "GPL",
        "GPL v2",
        "GPL and additional rights",
        "Dual BSD/GPL",
        "Dual MIT/GPL",
        "Dual MPL/GPL",
    ];
    COMPATIBLE.contains(&license)
}

/// Nanoseconds since boot.
fn boot_time() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

/// Replaces descriptors in the slots by indices into the list that is returned.
fn resolve_maps(
    request: &Request<'_>,
    attr: &Attr,
    insns: &mut [Insn],
) -> Result<Vec<Arc<Map>>, (Errno, String)> {
    let mut maps: Vec<Arc<Map>> = Vec::new();
    let mut at = 0;
    while at < insns.len() {
        let insn = insns[at];
        let wide = insn.opcode == LOAD_IMM64;
        let by_index = matches!(insn.src, pseudo::MAP_IDX | pseudo::MAP_IDX_VALUE);
        let by_fd = matches!(insn.src, pseudo::MAP_FD | pseudo::MAP_VALUE);
        if wide && (by_index || by_fd) {
            let plain = |errno| (errno, String::new());
            let fd = if by_index {
                // An index into the tool's array of descriptors.
                let array = attr.u64(120);
                if array == 0 {
                    let text = "fd_idx without fd_array is invalid\n".to_owned();
                    return Err((Errno(libc::EPROTO), text));
                }
                let index = u64::from(insn.imm as u32);
                let mut fd = [0; 4];
                request
                    .call
                    .read(array.wrapping_add(index * 4), &mut fd)
                    .map_err(plain)?;
                i32::from_le_bytes(fd)
            } else {
                insn.imm
            };
            let map = map_of(request, fd)
                .map_err(|errno| (errno, format!("fd {fd} is not pointing to valid bpf_map\n")))?;
            let index = match maps.iter().position(|known| Arc::ptr_eq(known, &map)) {
                Some(index) => index,
                None if maps.len() == MAX_MAPS => {
                    let text = format!(
                        "The total number of maps per program has reached the limit of {MAX_MAPS}\n"
                    );
                    return Err((Errno::E2BIG, text));
                }
                None => {
                    maps.push(map);
                    maps.len() - 1
                }
            };
            let value = matches!(insn.src, pseudo::MAP_VALUE | pseudo::MAP_IDX_VALUE);
            insns[at].src = if value {
                pseudo::MAP_IDX_VALUE
            } else {
                pseudo::MAP_IDX
            };
            insns[at].imm = index as i32;
        }
        at += if wide { 2 } else { 1 };
    }
    Ok(maps)
}

/// Function and line information.
fn debug_info(
    request: &Request<'_>,
    attr: &Attr,
    types: &Btf,
    slots: u32,
) -> Result<(Vec<Subprogram>, Vec<LineInfo>), Errno> {
    let sections = btf::Sections::parse(&types.blob)?;
    let offsets = sections.type_offsets()?;
    let (size, address, count) = (attr.u32(76), attr.u64(80), attr.u32(88));
    let functions = records::<8>(request, size, address, count, slots)?;
    let mut subprograms = Vec::with_capacity(functions.len());
    for record in functions {
        let [i0, i1, i2, i3, t0, t1, t2, t3] = record;
        let id = u32::from_le_bytes([t0, t1, t2, t3]);
        let (name, global) = sections.function(&offsets, id).ok_or(Errno::EINVAL)?;
        if name.len() >= MAX_NAME {
            return Err(Errno::EINVAL);
        }
        let insn = u32::from_le_bytes([i0, i1, i2, i3]);
        subprograms.push(Subprogram {
            insn,
            name: name.to_owned(),
            global,
            contract: None,
        });
    }
    let (size, address, count) = (attr.u32(92), attr.u64(96), attr.u32(104));
    let lines = records::<16>(request, size, address, count, slots)?;
    let mut room = MAX_TEXT;
    let lines = lines.into_iter().map(|record| {
        let word = |at: usize| {
            record[at..]
                .first_chunk()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let mut string = |at| {
            // To look for the end of a string takes time too.
            if room == 0 {
                return Ok(String::new());
            }
            let text = sections.string(word(at)).ok_or(Errno::EINVAL)?.trim();
            Ok::<_, Errno>(text_within(text, &mut room))
        };
        Ok(LineInfo {
            insn: word(0),
            file: string(4)?,
            text: string(8)?,
            line: word(12) >> 10,
            column: word(12) & 0x3ff,
        })
    });
    let mut lines = lines.collect::<Result<Vec<_>, Errno>>()?;
    subprograms.sort_by_key(|function| function.insn);
    lines.sort_by_key(|line| line.insn);
    Ok((subprograms, lines))
}

/// A copy of a string, which takes its length of `room`; empty, and no room left, if there is not
/// as much.
fn text_within(text: &str, room: &mut usize) -> String {
    let rest = room.checked_sub(text.len());
    *room = rest.unwrap_or(0);
    rest.map_or_else(String::new, |_| text.to_owned())
}

/// Records of which the first `N` bytes are known; at most one for each of the `slots`, as each
/// is about another one.
fn records<const N: usize>(
    request: &Request<'_>,
    size: u32,
    address: u64,
    count: u32,
    slots: u32,
) -> Result<Vec<[u8; N]>, Errno> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let size = size as usize;
    if count > slots || size < N || size > 252 || !size.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let bytes = request.call.read_vec(address, size * count as usize)?;
    Ok(bytes
        .chunks_exact(size)
        .filter_map(|record| record.first_chunk().copied())
        .collect())
}

/// Runs verifier or compiler; nothing if it panics. A defect there costs the tool its program,
/// never the broker and with it everybody's.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What the work borrows is not used after a panic.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

/// Compiles programs of the types that run here.
fn compile(verified: &VerifiedProgram) -> Result<Option<Code>, String> {
    if verified.program().prog_type != ProgType::Kprobe {
        return Ok(None);
    }
    let object = bpftime_vm::jit::compile(verified).map_err(|error| error.to_string())?;
    let file = sealed_memfd("bpftime-program", object.code())
        .map_err(|error| format!("no memory for the code: {}", errno_of(&error).name()))?;
    Ok(Some(Code {
        file,
        len: object.code().len(),
        entry: object.entry(),
        stack_bytes: object.stack_bytes(),
        needs_cpu: verified.facts().needs_cpu,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_no_more_than_their_room() {
        let mut room = 5;
        assert_eq!(text_within("abc", &mut room), "abc");
        assert_eq!(room, 2);
        assert_eq!(text_within("abc", &mut room), "");
        assert_eq!(room, 0);
        assert_eq!(text_within("a", &mut room), "");
    }
}
