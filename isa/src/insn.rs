//! One 8-byte slot as it stands in memory and in object files.

/// A raw instruction slot (RFC 9669 section 3). Not every bit pattern is an instruction;
/// a 64-bit immediate load takes two slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[doc(alias = "bpf_insn")]
pub struct Insn {
    /// Operation.
    pub opcode: u8,
    /// Destination register number, 4 bits.
    pub dst: u8,
    /// Source register number, 4 bits.
    pub src: u8,
    /// Offset: bytes for memory, slots for jumps.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// Bytes of one slot.
    pub const SIZE: usize = 8;

    /// Reads a slot in little-endian layout.
    pub const fn from_le_bytes(b: [u8; 8]) -> Self {
        Self {
            opcode: b[0],
            dst: b[1] & 0xf,
            src: b[1] >> 4,
            off: i16::from_le_bytes([b[2], b[3]]),
            imm: i32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        }
    }

    /// The slot in little-endian layout. Only the low 4 bits of `dst` and `src` are kept.
    pub const fn to_le_bytes(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        let regs = (self.dst & 0xf) | (self.src << 4);
        [
            self.opcode,
            regs,
            off[0],
            off[1],
            imm[0],
            imm[1],
            imm[2],
            imm[3],
        ]
    }
}
