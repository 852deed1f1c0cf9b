//! Random XDP programs about packet pointers.

use bpftime_isa::Insn;

use crate::numbers::{Random, insn};

/// `r6` is the packet's start, `r7` its end, `r5` its metadata, `r8` a number; `r2` to `r4` are
/// packet pointers that are moved, compared and read through.
pub(crate) fn packets(random: &mut Random) -> Vec<Insn> {
    let mut insns = vec![
        insn(0x61, 6, 1, 0, 0),
        insn(0x61, 7, 1, 4, 0),
        insn(0x61, 5, 1, 8, 0),
        insn(0x61, 8, 1, 12, 0),
    ];
    match random.below(4) {
        0 => insns.push(insn(0x57, 8, 0, 0, random.pick(&[7, 255, 0xffff, 0x1ffff]))),
        1 => insns.push(insn(0x07, 8, 0, 0, random.pick(&[-4, 4, 100]))),
        2 => insns.push(insn(0x77, 8, 0, 0, random.pick(&[16, 20, 28]))),
        _ => {}
    }
    let pointers = [2, 3, 4, 5, 6];
    for reg in [2, 3, 4] {
        insns.push(insn(0xbf, reg, random.pick(&[5, 6, 6, 6, 6]), 0, 0));
    }
    let immediates = [0, 1, 2, 8, 14, 20, -1, -2, -8, 40];
    let steps = 3 + random.below(8);
    for left in (0..steps).rev() {
        let reg = random.pick(&[2, 3, 4]);
        let other = random.pick(&pointers);
        // Jumps stay within the steps that follow, each of which is one instruction.
        let off = random.below(left + 1) as i16;
        insns.push(match random.below(9) {
            0 | 1 => insn(0x07, reg, 0, 0, random.pick(&immediates)),
            2 => insn(0x0f, reg, 8, 0, 0),
            3 => insn(0xbf, reg, other, 0, 0),
            4 | 5 => {
                let opcode = random.pick(&[0x2d, 0x3d, 0xad, 0xbd, 0x1d, 0x5d, 0x6d]);
                insn(opcode, reg, 7, off, 0)
            }
            6 => {
                let opcode = random.pick(&[0x2d, 0x3d, 0xad, 0xbd]);
                insn(opcode, 7, reg, off, 0)
            }
            7 => insn(random.pick(&[0x2d, 0xbd]), reg, 6, off, 0),
            _ => insn(random.pick(&[0x17, 0x07]), reg, 0, 0, random.pick(&[1, 4])),
        });
    }
    // The check that makes it safe, often.
    let base = random.pick(&[2, 3, 4, 6]);
    let reach = random.pick(&[1, 2, 4, 8, 14]);
    if random.below(4) != 0 {
        insns.push(insn(0xbf, 9, base, 0, 0));
        insns.push(insn(0x07, 9, 0, 0, reach));
        let (opcode, dst, src) = random.pick(&[
            (0x2d, 9, 7),
            (0x3d, 9, 7),
            (0xad, 7, 9),
            (0xbd, 7, 9),
            (0xad, 9, 7),
        ]);
        insns.push(insn(opcode, dst, src, 1, 0));
    }
    let opcode = random.pick(&[0x71, 0x69, 0x61, 0x79]);
    let from = random.pick(&[base, base, base, 2, 3, 6, 5]);
    insns.push(insn(
        opcode,
        0,
        from,
        random.pick(&[0, 0, 0, 1, 4, 6, -1]),
        0,
    ));
    insns.push(insn(0xb7, 0, 0, 0, 0));
    insns.push(insn(0x95, 0, 0, 0, 0));
    insns
}
