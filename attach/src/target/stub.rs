//! The code that makes system calls inside the process.
//!
//! One change of registers sends a thread here. The first instruction is the system call that
//! we want; the rest puts the thread back where it was, without help: it restores the signal
//! mask, loads every register that system calls change, and jumps to the interrupted
//! instruction. No stack, no flags, no memory of the program is touched. While the tracer
//! lives, the thread is stopped right after the first instruction and never gets to the rest.

use libc::user_regs_struct;

use crate::error::Error;
use crate::process::{Mapping, Maps};

use super::memory;

/// Start of every stub: `syscall; mov eax, 14 (rt_sigprocmask); mov edi, 2 (SIG_SETMASK)`.
const PROLOGUE: [u8; 12] = [0x0f, 0x05, 0xb8, 14, 0, 0, 0, 0xbf, 2, 0, 0, 0];
/// By these first bytes, which are written first and removed last, a stub is known again, also one
/// that was only half written or half removed.
const SIGNATURE: usize = 8;
/// Offset of the instruction after the system call.
pub(super) const AFTER_SYSCALL: u64 = 2;
/// Length of every stub.
pub(super) const LEN: usize = 144;
/// Offset of the address to which every stub jumps in the end.
const RESUME: usize = LEN - 16;
/// Stubs start at multiples of this.
const ALIGN: u64 = 16;

/// System calls that were interrupted return these to the kernel's own exit code.
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;

/// Whether `rax` at a stop means that the kernel restarts the system call.
pub(super) fn is_restart(rax: u64) -> bool {
    matches!(
        rax as i64,
        ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK
    )
}

/// The registers with which user code goes on if nobody but the stub puts them back: what the
/// kernel does for an interrupted system call on the way out is done here.
fn as_user_code_sees_them(regs: &user_regs_struct) -> user_regs_struct {
    let mut regs = *regs;
    if (regs.orig_rax as i64) >= 0 && is_restart(regs.rax) {
        regs.rip = regs.rip.wrapping_sub(2);
        regs.rax = match regs.rax as i64 {
            ERESTART_RESTARTBLOCK => libc::SYS_restart_syscall as u64,
            _ => regs.orig_rax,
        };
    }
    regs
}

/// Assembles the stub that puts back `regs` and `mask`.
pub(super) fn assemble(regs: &user_regs_struct, mask: u64) -> [u8; LEN] {
    let regs = as_user_code_sees_them(regs);
    let mut code = Vec::with_capacity(LEN);
    code.extend(PROLOGUE);
    // lea rsi, [rip + mask]; the mask is in the last 8 bytes.
    code.extend([0x48, 0x8d, 0x35]);
    let after = code.len() + 4;
    code.extend(((LEN - 8 - after) as u32).to_le_bytes());
    code.extend([0xba, 0, 0, 0, 0]); // mov edx, 0
    code.extend([0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    code.extend([0x0f, 0x05]); // syscall
    for (rex, opcode, value) in [
        (0x48, 0xb8, regs.rax),
        (0x48, 0xb9, regs.rcx),
        (0x48, 0xba, regs.rdx),
        (0x48, 0xbe, regs.rsi),
        (0x48, 0xbf, regs.rdi),
        (0x49, 0xb8, regs.r8),
        (0x49, 0xb9, regs.r9),
        (0x49, 0xba, regs.r10),
        (0x49, 0xbb, regs.r11),
    ] {
        code.extend([rex, opcode]); // mov r64, imm64
        code.extend(value.to_le_bytes());
    }
    code.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp [rip]
    code.extend(regs.rip.to_le_bytes());
    let mut stub = [0xcc; LEN];
    let used = code.len().min(LEN);
    for (place, byte) in stub.iter_mut().zip(&code) {
        *place = *byte;
    }
    debug_assert!(used <= LEN - 8);
    for (place, byte) in stub.iter_mut().skip(LEN - 8).zip(mask.to_le_bytes()) {
        *place = byte;
    }
    stub
}

/// A place for the stub.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: u64,
    /// What must be there when we are done.
    pub(super) original: [u8; LEN],
    /// A stub of a tracer that died is here; a thread might still be inside.
    pub(super) leftover: bool,
    /// Where a thread in that stub goes on.
    pub(super) resumes_at: u64,
}

/// Places that no code and no data of the process uses: in the last page of an executable
/// segment after the segment's end, which is mapped because mappings end at page boundaries.
pub(super) fn places(pid: i32, maps: &Maps) -> Vec<Place> {
    let mut found = Vec::new();
    for mapping in maps
        .iter()
        .filter(|m| m.execute && m.read && !m.write && !m.shared)
    {
        let vdso = mapping.name.as_os_str() == "[vdso]";
        if !vdso && (!mapping.is_file() || mapping.memfd_name().is_some()) {
            continue;
        }
        let Some(end) = segment_end(pid, maps, mapping, vdso) else {
            continue;
        };
        let address = end.next_multiple_of(ALIGN);
        if address + LEN as u64 > mapping.end || address < mapping.start {
            continue;
        }
        let mut original = [0; LEN];
        if memory::read(pid, address, &mut original).is_err() {
            continue;
        }
        let leftover = PROLOGUE.starts_with(&original[..SIGNATURE]);
        let resumes_at = match original.as_chunks::<8>().0.get(RESUME / 8) {
            Some(word) if leftover => u64::from_le_bytes(*word),
            _ => 0,
        };
        if leftover {
            // Linkers fill what follows with zeros; the file knows for sure.
            original = file_bytes(maps, mapping, address).unwrap_or([0; LEN]);
        }
        found.push(Place {
            address,
            original,
            leftover,
            resumes_at,
        });
    }
    found
}

/// Address after the last byte of the executable segment that `mapping` maps.
fn segment_end(pid: i32, maps: &Maps, mapping: &Mapping, vdso: bool) -> Option<u64> {
    let first = if vdso {
        mapping
    } else {
        maps.iter().find(|m| {
            m.offset == 0
                && m.read
                && (m.device, m.inode) == (mapping.device, mapping.inode)
                && m.start <= mapping.start
        })?
    };
    let mut page = vec![0; 4096.min(first.len() as usize)];
    memory::read(pid, first.start, &mut page).ok()?;
    let header = crate::elf::ProgramHeaders::parse(&page)?;
    if vdso {
        // The one segment holds everything that the dynamic part describes; what follows the
        // section headers is not part of the file.
        return mapping
            .start
            .checked_add(header.file_end())
            .filter(|end| *end <= mapping.end);
    }
    let segment = header.executable_segment_at(mapping.offset)?;
    let end = segment
        .checked_add(mapping.start)?
        .checked_sub(mapping.offset)?;
    (end > mapping.start && end <= mapping.end).then_some(end)
}

/// The bytes that the file holds for a place, to clean up after a tracer that died.
fn file_bytes(maps: &Maps, mapping: &Mapping, address: u64) -> Option<[u8; LEN]> {
    use std::os::unix::fs::FileExt;
    let path = maps.path_from_outside(&mapping.name);
    let id = crate::process::FileId::of(&path).ok()?;
    if id.inode != mapping.inode {
        return None;
    }
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = [0; LEN];
    let mut done = 0;
    let offset = mapping.offset + (address - mapping.start);
    // After the end of the file the page holds zeros.
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(got) => done += got,
            Err(_) => return None,
        }
    }
    Some(bytes)
}

/// Puts the bytes back that belong to a place. No thread may be in it.
pub(super) fn remove(pid: i32, tid: i32, place: &Place) -> crate::Result<()> {
    let (first, rest) = place.original.split_at(SIGNATURE);
    memory::poke(pid, tid, place.address + SIGNATURE as u64, rest)?;
    memory::poke(pid, tid, place.address, first)
}

/// The error when [`places`] is exhausted.
pub(super) fn no_place(pid: i32) -> Error {
    Error::NoRemoteCalls {
        pid,
        reason: "no executable segment has unused bytes in its last page".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    fn regs() -> user_regs_struct {
        // SAFETY: plain integers.
        let mut regs: user_regs_struct = unsafe { std::mem::zeroed() };
        regs.rax = 1;
        regs.rcx = 2;
        regs.rdx = 3;
        regs.rsi = 4;
        regs.rdi = 5;
        regs.r8 = 6;
        regs.r9 = 7;
        regs.r10 = 8;
        regs.r11 = 9;
        regs.rip = 0x7fff_1234_5678;
        regs.orig_rax = u64::MAX;
        regs
    }

    #[test]
    fn decodes_to_what_it_says() {
        let code = assemble(&regs(), 0xabcd);
        let mut decoder = Decoder::with_ip(64, &code, 0x1000, DecoderOptions::NONE);
        let mut loads = Vec::new();
        let mut syscalls = 0;
        loop {
            let insn = decoder.decode();
            match insn.mnemonic() {
                Mnemonic::Syscall => syscalls += 1,
                Mnemonic::Mov => {
                    if syscalls == 2 {
                        loads.push(insn.immediate(1));
                    }
                }
                Mnemonic::Lea => assert_eq!(insn.ip_rel_memory_address(), 0x1000 + LEN as u64 - 8),
                Mnemonic::Jmp => {
                    let at = (insn.ip_rel_memory_address() - 0x1000) as usize;
                    assert_eq!(at, RESUME);
                    assert_eq!(code[at..at + 8], regs().rip.to_le_bytes());
                    break;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(loads, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(syscalls, 2);
        assert_eq!(code[LEN - 8..], 0xabcd_u64.to_le_bytes());
    }

    #[test]
    fn interrupted_calls_are_restarted_as_the_kernel_does() {
        let mut regs = regs();
        regs.orig_rax = 35;
        for (code, rax) in [(-512_i64, 35), (-513, 35), (-514, 35), (-516, 219)] {
            regs.rax = code as u64;
            let seen = as_user_code_sees_them(&regs);
            assert_eq!((seen.rax, seen.rip), (rax, regs.rip - 2));
        }
        regs.rax = -4_i64 as u64;
        assert_eq!(as_user_code_sees_them(&regs).rip, regs.rip);
        regs.rax = -512_i64 as u64;
        regs.orig_rax = u64::MAX;
        assert_eq!(
            as_user_code_sees_them(&regs).rip,
            regs.rip,
            "not in a system call"
        );
    }
}
