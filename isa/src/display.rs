//! Text of instructions, as `llvm-objdump -d --mcpu=v4` of LLVM 19 prints them.
//!
//! Where LLVM prints nothing that could be read back, the text is our own, and [`crate::asm`]
//! reads it: `r1 = map_fd(0x3) ll` and the like for pseudo loads, `call pc+0x3` (as the kernel's
//! log has it) for calls of subprograms, `call kfunc(0x4d)` for kernel functions,
//! `skb[r2 + 0x8]` for the offset of indirect packet loads, and the load-acquire and
//! store-release of LLVM 20.

use core::fmt::{self, Display, Formatter};

use crate::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Instruction, Operand, Reg, Size, Width,
};

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alu {
                op,
                width,
                dst,
                src,
            } => {
                let dst = Named(dst, width);
                write!(f, "{dst} {} {}", alu_sign(op), Second(src, width))
            }
            Self::MovSx {
                width,
                from,
                dst,
                src,
            } => {
                let bits = 8 * from.bytes();
                write!(f, "{} = (s{bits}){}", Named(dst, width), Named(src, width))
            }
            Self::Neg { width, dst } => {
                let dst = Named(dst, width);
                write!(f, "{dst} = -{dst}")
            }
            Self::ByteOrder { op, size, dst } => {
                let op = match op {
                    ByteOrderOp::ToLe => "le",
                    ByteOrderOp::ToBe => "be",
                    ByteOrderOp::Swap => "bswap",
                };
                write!(f, "{dst} = {op}{} {dst}", 8 * size.bytes())
            }
            Self::LoadImm64 { dst, value } => write!(f, "{dst} = {} ll", Wide(value)),
            Self::Load {
                size,
                signed,
                dst,
                base,
                off,
            } => {
                // Loads that zero-extend write the whole register, whatever its name.
                let width = if signed { Width::W64 } else { width(size) };
                let sign = if signed { 's' } else { 'u' };
                let dst = Named(dst, width);
                let bits = 8 * size.bytes();
                write!(f, "{dst} = *({sign}{bits} *)({})", At(base, off))
            }
            Self::Store {
                size,
                base,
                off,
                src,
            } => {
                let src = Second(src, width(size));
                write!(f, "*(u{} *)({}) = {src}", 8 * size.bytes(), At(base, off))
            }
            Self::Atomic {
                op,
                width,
                base,
                off,
                src,
            } => atomic(f, op, width, At(base, off), Named(src, width)),
            Self::LoadAcquire {
                size,
                dst,
                base,
                off,
            } => {
                let bits = 8 * size.bytes();
                let dst = Named(dst, width(size));
                write!(f, "{dst} = load_acquire((u{bits} *)({}))", At(base, off))
            }
            Self::StoreRelease {
                size,
                base,
                off,
                src,
            } => {
                let bits = 8 * size.bytes();
                let src = Named(src, width(size));
                write!(f, "store_release((u{bits} *)({}), {src})", At(base, off))
            }
            Self::LoadPacket { size, index, off } => {
                write!(f, "r0 = *(u{} *)skb[", 8 * size.bytes())?;
                match index {
                    None => write!(f, "{}]", Hex(off.into())),
                    Some(index) if off == 0 => write!(f, "{index}]"),
                    Some(index) => write!(f, "{index} {}]", Spaced(off.into())),
                }
            }
            Self::AddrSpaceCast { dst, src, to, from } => {
                write!(f, "{dst} = addr_space_cast({src}, {to:#x}, {from:#x})")
            }
            Self::Jump { long, delta } => {
                let goto = if long { "gotol" } else { "goto" };
                write!(f, "{goto} {}", Signed(delta.into()))
            }
            Self::Branch {
                cond,
                width,
                dst,
                src,
                delta,
            } => {
                let (dst, src) = (Named(dst, width), Second(src, width));
                let delta = Signed(delta.into());
                write!(f, "if {dst} {} {src} goto {delta}", cond_sign(cond))
            }
            Self::MayGoto { delta } => write!(f, "may_goto {}", Signed(delta.into())),
            Self::Call(target) => match target {
                CallTarget::Helper(id) => write!(f, "call {}", Hex((id as i32).into())),
                CallTarget::Local(delta) => write!(f, "call pc{}", Signed(delta.into())),
                CallTarget::Kfunc { id, btf_idx: 0 } => write!(f, "call kfunc({id:#x})"),
                CallTarget::Kfunc { id, btf_idx } => {
                    write!(f, "call kfunc({id:#x}, {})", Hex(btf_idx.into()))
                }
                CallTarget::Register(reg) => write!(f, "callx {reg}"),
            },
            Self::Exit => f.write_str("exit"),
        }
    }
}

fn atomic(f: &mut Formatter<'_>, op: AtomicOp, width: Width, at: At, src: Named) -> fmt::Result {
    let bits = match width {
        Width::W32 => 32,
        Width::W64 => 64,
    };
    let (name, sign, fetch) = match op {
        AtomicOp::Add { fetch } => ("add", "+=", fetch),
        AtomicOp::Or { fetch } => ("or", "|=", fetch),
        AtomicOp::And { fetch } => ("and", "&=", fetch),
        AtomicOp::Xor { fetch } => ("xor", "^=", fetch),
        AtomicOp::Xchg => {
            let name = if bits == 32 { "xchg32_32" } else { "xchg_64" };
            return write!(f, "{src} = {name}({at}, {src})");
        }
        AtomicOp::Cmpxchg => {
            let name = if bits == 32 {
                "cmpxchg32_32"
            } else {
                "cmpxchg_64"
            };
            let r0 = Named(Reg::R0, width);
            return write!(f, "{r0} = {name}({at}, {r0}, {src})");
        }
    };
    if fetch {
        write!(f, "{src} = atomic_fetch_{name}((u{bits} *)({at}), {src})")
    } else {
        write!(f, "lock *(u{bits} *)({at}) {sign} {src}")
    }
}

/// Width of the register name that goes with a size of memory.
const fn width(size: Size) -> Width {
    match size {
        Size::DW => Width::W64,
        _ => Width::W32,
    }
}

const fn alu_sign(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div => "/=",
        AluOp::Sdiv => "s/=",
        AluOp::Mod => "%=",
        AluOp::Smod => "s%=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Xor => "^=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Arsh => "s>>=",
        AluOp::Mov => "=",
    }
}

const fn cond_sign(cond: Cond) -> &'static str {
    match cond {
        Cond::Eq => "==",
        Cond::Ne => "!=",
        Cond::Gt => ">",
        Cond::Ge => ">=",
        Cond::Lt => "<",
        Cond::Le => "<=",
        Cond::Set => "&",
        Cond::Sgt => "s>",
        Cond::Sge => "s>=",
        Cond::Slt => "s<",
        Cond::Sle => "s<=",
    }
}

/// A register by the name that goes with a width: `w1` or `r1`.
#[derive(Clone, Copy)]
struct Named(Reg, Width);

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            Width::W32 => write!(f, "w{}", self.0.index()),
            Width::W64 => self.0.fmt(f),
        }
    }
}

/// A second operand.
struct Second(Operand, Width);

impl Display for Second {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operand::Reg(reg) => Named(reg, self.1).fmt(f),
            Operand::Imm(imm) => Hex(imm.into()).fmt(f),
        }
    }
}

/// A number: `0x10`, `-0x1`.
struct Hex(i64);

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

/// A distance: `+0x10`, `-0x1`.
struct Signed(i64);

impl Display for Signed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

/// An offset: `+ 0x10`, `- 0x1`.
struct Spaced(i64);

impl Display for Spaced {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign} {:#x}", self.0.unsigned_abs())
    }
}

/// An address: `r1 + 0x10`.
#[derive(Clone, Copy)]
struct At(Reg, i16);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, Spaced(self.1.into()))
    }
}

/// A 64-bit immediate.
struct Wide(Imm64);

impl Display for Wide {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Imm64::Value(value) => Hex(value as i64).fmt(f),
            Imm64::MapFd(fd) => write!(f, "map_fd({})", Hex(fd.into())),
            Imm64::MapFdValue { fd, offset } => {
                write!(f, "map_fd({}) + {offset:#x}", Hex(fd.into()))
            }
            Imm64::BtfId { id, btf_fd } => write!(f, "btf_id({id:#x}, {btf_fd:#x})"),
            Imm64::Func { delta } => write!(f, "func({})", Signed(delta.into())),
            Imm64::MapIdx(index) => write!(f, "map_idx({index:#x})"),
            Imm64::MapIdxValue { index, offset } => write!(f, "map_idx({index:#x}) + {offset:#x}"),
        }
    }
}
