//! Jumps from one function into the middle of another, as hand-written assembler has them: glibc's
//! `mempcpy` goes on 3 bytes into `memcpy`.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

use super::{Elf, Function, Segment};

/// How far a jump with an 8-bit distance reaches, its own bytes included.
const SHORT_REACH: u64 = 130;
/// No more than this is decoded before a place, to find out where instructions start.
const RUN_UP: u64 = 64 << 10;

/// A direct jump or call. Offsets in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Jump {
    /// Of a byte of the instruction.
    pub from: u64,
    /// Where it leads.
    pub to: u64,
}

impl Elf {
    /// Jumps and calls with a 32-bit distance that lead to the first `depth` bytes of a function, but
    /// not to the very first one. Looks at all code once.
    ///
    /// They are found wherever they are, and bytes that only look like one count (of 100 MB of
    /// code, one or two).
    pub fn long_jumps_into_functions(&self, depth: u64) -> Vec<Jump> {
        self.long_jumps(|to| {
            let after = self.functions.partition_point(|f| f.offset < to);
            let before = after.checked_sub(1).and_then(|i| self.functions.get(i));
            before.is_some_and(|f| to - f.offset < depth)
        })
    }

    /// As [`Elf::long_jumps_into_functions`] for one place, which need not be a function's.
    pub fn long_jumps_into(&self, places: &Range<u64>) -> Vec<Jump> {
        self.long_jumps(|to| places.contains(&to))
    }

    fn long_jumps(&self, wanted: impl Fn(u64) -> bool) -> Vec<Jump> {
        let mut found = Vec::new();
        for segment in self.headers.segments.iter().filter(|s| s.execute) {
            let len = usize::try_from(segment.file_len).unwrap_or(0);
            let code = self.bytes(segment.offset, len).unwrap_or_default();
            let mut before = 0;
            for (index, byte) in code.iter().enumerate() {
                let is_jump = matches!(byte, 0xe8 | 0xe9) || before == 0x0f && byte & 0xf0 == 0x80;
                before = *byte;
                if !is_jump {
                    continue;
                }
                let Some(distance) = code.get(index + 1..).and_then(|rest| rest.first_chunk())
                else {
                    break;
                };
                let next = segment.address.wrapping_add(index as u64 + 5);
                let to = next.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance)));
                if let Some(to) = self.offset_of(to).filter(|to| wanted(*to)) {
                    let from = segment.offset + index as u64;
                    found.push(Jump { from, to });
                }
            }
        }
        found
    }

    /// Where jumps with an 8-bit distance from outside `function` lead among `places`, by decoding
    /// what is near.
    pub fn short_jumps_into(&self, places: &Range<u64>, function: &Range<u64>) -> Vec<u64> {
        let Some(segment) = self.executable_segment(places.start) else {
            return Vec::new();
        };
        let before = places.start.saturating_sub(SHORT_REACH)..function.start;
        let after = function.end..places.end.saturating_add(SHORT_REACH);
        let mut found = self.jumps_in(segment, before, places);
        found.extend(self.jumps_in(segment, after, places));
        found
    }

    /// Where direct jumps of the instructions in `range` lead among `places`.
    fn jumps_in(&self, segment: &Segment, range: Range<u64>, places: &Range<u64>) -> Vec<u64> {
        let mut found = Vec::new();
        let end = range
            .end
            .min(segment.offset.saturating_add(segment.file_len));
        // Instructions are known to start where a function does.
        let known = self.functions.partition_point(|f| f.offset <= range.start);
        let start = known
            .checked_sub(1)
            .and_then(|index| self.functions.get(index))
            .map_or(segment.offset, |f: &Function| f.offset)
            .max(range.start.saturating_sub(RUN_UP))
            .max(segment.offset);
        let (Some(len), Some(address)) = (end.checked_sub(start), self.address_of(start)) else {
            return found;
        };
        let code = self.bytes(start, len as usize).unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.op0_kind() == OpKind::NearBranch64
                && let Some(to) = self.offset_of(instruction.near_branch_target())
                && places.contains(&to)
            {
                found.push(to);
            }
        }
        found
    }
}
