//! Jumps from one function into the middle of another, as hand-written assembler has them: glibc's
//! `mempcpy` goes on 3 bytes into `memcpy`.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind};

use super::{Elf, Function, Segment};

/// How far a jump with an 8-bit distance reaches, its own bytes included.
const SHORT_REACH: u64 = 130;
/// No more than this is decoded before a place, to find out where instructions start.
const RUN_UP: u64 = 64 << 10;

impl Elf {
    /// Offsets in `places` (a few bytes of the file) to which direct jumps and calls from outside
    /// `function` lead, in ascending order.
    ///
    /// Jumps with a 32-bit distance are found wherever they are, and bytes that only look like one
    /// count (one such place in 100 MB). Jumps with an 8-bit distance are found by decoding
    /// what is near.
    pub fn jumps_into(&self, places: Range<u64>, function: Range<u64>) -> Vec<u64> {
        let (Some(segment), Some(target)) = (
            self.executable_segment(places.start),
            self.address_of(places.start),
        ) else {
            return Vec::new();
        };
        let targets = target..target.saturating_add(places.end.saturating_sub(places.start));
        let mut found = Vec::new();
        for code in self.headers.segments.iter().filter(|s| s.execute) {
            self.long_jumps(code, &targets, &function, &mut found);
        }
        let before = places.start.saturating_sub(SHORT_REACH)..function.start;
        self.short_jumps(segment, before, &targets, &mut found);
        let after = function.end..places.end.saturating_add(SHORT_REACH);
        self.short_jumps(segment, after, &targets, &mut found);
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .map(|address| places.start + (address - target))
            .collect()
    }

    /// `call`, `jmp` and `jcc` with a 32-bit distance.
    fn long_jumps(
        &self,
        segment: &Segment,
        targets: &Range<u64>,
        function: &Range<u64>,
        found: &mut Vec<u64>,
    ) {
        let len = usize::try_from(segment.file_len).unwrap_or(0);
        let code = self.bytes(segment.offset, len).unwrap_or_default();
        let count = targets.end - targets.start;
        for (index, distance) in code.windows(4).enumerate() {
            let Ok(distance) = <[u8; 4]>::try_from(distance) else {
                continue;
            };
            let next = segment.address.wrapping_add(index as u64 + 4);
            let to = next.wrapping_add_signed(i64::from(i32::from_le_bytes(distance)));
            if to.wrapping_sub(targets.start) >= count {
                continue;
            }
            let opcode = |back: usize| index.checked_sub(back).and_then(|at| code.get(at).copied());
            let is_jump = match (opcode(2), opcode(1)) {
                (_, Some(0xe8 | 0xe9)) => true,
                (Some(0x0f), Some(second)) => second & 0xf0 == 0x80,
                _ => false,
            };
            if is_jump && !function.contains(&(segment.offset + index as u64)) {
                found.push(to);
            }
        }
    }

    /// Jumps among the instructions that start in `range` of the file.
    fn short_jumps(
        &self,
        segment: &Segment,
        range: Range<u64>,
        targets: &Range<u64>,
        found: &mut Vec<u64>,
    ) {
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
            return;
        };
        let code = self.bytes(start, len as usize).unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.op0_kind() == OpKind::NearBranch64 {
                let to = instruction.near_branch_target();
                if targets.contains(&to) {
                    found.push(to);
                }
            }
        }
    }
}
