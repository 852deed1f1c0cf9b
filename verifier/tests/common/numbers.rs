//! Random programs about numbers.

use bpftime_isa::Insn;

/// A generator with a fixed seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below the limit.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// One of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// A slot.
pub(crate) fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        opcode,
        dst,
        src,
        off,
        imm,
    }
}

/// A program about numbers that index a map value of 48 bytes: `r6` and `r7` point to the value,
/// `r0` to `r4` are numbers of which some are read from it. `map` makes the two slots of the
/// map's address.
pub(crate) fn numbers(random: &mut Random, map: &dyn Fn(u8) -> [Insn; 2]) -> Vec<Insn> {
    let mut insns = Vec::new();
    insns.extend(map(6));
    insns.extend(map(7));
    for reg in 0..5 {
        insns.push(match random.below(4) {
            0 => insn(0x79, reg, 6, 8 * random.below(6) as i16, 0),
            1 => insn(0x71, reg, 6, random.below(48) as i16, 0),
            2 => insn(0x61, reg, 6, 4 * random.below(12) as i16, 0),
            _ => insn(0xb7, reg, 0, 0, random.below(300) as i32 - 100),
        });
    }
    let immediates = [
        0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 39, 47, 63, 64, 127, 255, -1, -2, -8, -48,
    ];
    let alu = [
        0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x57, 0x5f, 0x67, 0x77, 0x97,
        0x9f, 0xa7, 0xaf, 0xbf, 0xc7, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c,
        0x54, 0x5c, 0x64, 0x74, 0x94, 0x9c, 0xa4, 0xac, 0xbc, 0xc4, 0x87, 0x84,
    ];
    let jumps = [
        0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x55, 0x5d, 0x65, 0x6d, 0x75, 0x7d, 0xa5,
        0xad, 0xb5, 0xbd, 0xc5, 0xcd, 0xd5, 0xdd, 0x16, 0x1e, 0x26, 0x2e, 0x36, 0x46, 0x56, 0x66,
        0x6e, 0x76, 0x7e, 0xa6, 0xb6, 0xc6, 0xce, 0xd6, 0xde,
    ];
    let body = 4 + random.below(10);
    for left in (0..body).rev() {
        let (dst, src) = (random.below(5) as u8, random.below(5) as u8);
        match random.below(8) {
            0..=3 => {
                let opcode = random.pick(&alu);
                let register = opcode & 8 != 0;
                let shift = matches!(opcode & 0xf0, 0x60 | 0x70 | 0xc0);
                let divide = matches!(opcode & 0xf0, 0x30 | 0x90);
                let imm = match random.pick(&immediates) {
                    _ if register || opcode & 0xf0 == 0x80 => 0,
                    imm if shift => imm & if opcode & 7 == 7 { 63 } else { 31 },
                    0 if divide => 3,
                    imm => imm,
                };
                // Some divisions are signed.
                let off = i16::from(divide && random.below(2) == 0);
                let src = if register { src } else { 0 };
                insns.push(insn(opcode, dst, src, off, imm));
            }
            4..=6 => {
                let opcode = random.pick(&jumps);
                let register = opcode & 8 != 0;
                let (src, imm) = if register {
                    (src, 0)
                } else {
                    (0, random.pick(&immediates))
                };
                insns.push(insn(opcode, dst, src, random.below(left + 1) as i16, imm));
            }
            _ => {
                // A spill and a fill, of 8 or 4 bytes.
                let (store, load) = random.pick(&[(0x7b, 0x79), (0x63, 0x61), (0x7b, 0x61)]);
                let off = -8 * (1 + random.below(2) as i16);
                insns.push(insn(store, 10, src, off, 0));
                insns.push(insn(load, dst, 10, off, 0));
            }
        }
    }
    // The access that has to be in bounds.
    let index = random.below(5) as u8;
    match random.below(3) {
        0 => insns.push(insn(0x57, index, 0, 0, random.pick(&[7, 15, 31, 47, 63]))),
        1 => insns.push(insn(0x25, index, 0, 2, random.pick(&[7, 31, 40, 47, 48]))),
        _ => insns.push(insn(0xbc, index, random.below(5) as u8, 0, 0)),
    }
    insns.push(insn(0x0f, 7, index, 0, 0));
    let (load, _) = random.pick(&[(0x71, 1), (0x61, 4), (0x79, 8)]);
    insns.push(insn(load, 0, 7, 0, 0));
    insns.push(insn(0xb7, 0, 0, 0, 0));
    insns.push(insn(0x95, 0, 0, 0, 0));
    insns
}
