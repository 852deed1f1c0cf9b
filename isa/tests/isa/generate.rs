//! Generators of instructions.

use bpftime_isa::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Instruction, Operand, Reg, Size, Width,
};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn reg() -> impl Strategy<Value = Reg> {
    select(Reg::ALL.to_vec())
}

fn width() -> impl Strategy<Value = Width> {
    select(vec![Width::W32, Width::W64])
}

fn size() -> impl Strategy<Value = Size> {
    select(vec![Size::B, Size::H, Size::W, Size::DW])
}

fn imm() -> impl Strategy<Value = i32> {
    prop_oneof![any::<i32>(), -16..16, select(vec![i32::MIN, i32::MAX])]
}

fn off() -> impl Strategy<Value = i16> {
    prop_oneof![any::<i16>(), -16i16..16, select(vec![i16::MIN, i16::MAX])]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![reg().prop_map(Operand::Reg), imm().prop_map(Operand::Imm)]
}

fn alu_op() -> impl Strategy<Value = AluOp> {
    use AluOp::*;
    select(vec![
        Add, Sub, Mul, Div, Sdiv, Mod, Smod, Or, And, Xor, Lsh, Rsh, Arsh, Mov,
    ])
}

fn cond() -> impl Strategy<Value = Cond> {
    use Cond::*;
    select(vec![Eq, Ne, Gt, Ge, Lt, Le, Set, Sgt, Sge, Slt, Sle])
}

fn atomic_op() -> impl Strategy<Value = AtomicOp> {
    any::<bool>().prop_flat_map(|fetch| {
        select(vec![
            AtomicOp::Add { fetch },
            AtomicOp::Or { fetch },
            AtomicOp::And { fetch },
            AtomicOp::Xor { fetch },
            AtomicOp::Xchg,
            AtomicOp::Cmpxchg,
        ])
    })
}

fn alu() -> BoxedStrategy<Instruction> {
    let binary =
        (alu_op(), width(), reg(), operand()).prop_map(|(op, width, dst, src)| Instruction::Alu {
            op,
            width,
            dst,
            src,
        });
    let extensions = vec![
        (Width::W32, Size::B),
        (Width::W32, Size::H),
        (Width::W64, Size::B),
        (Width::W64, Size::H),
        (Width::W64, Size::W),
    ];
    let mov_sx = (select(extensions), reg(), reg()).prop_map(|((width, from), dst, src)| {
        Instruction::MovSx {
            width,
            from,
            dst,
            src,
        }
    });
    let neg = (width(), reg()).prop_map(|(width, dst)| Instruction::Neg { width, dst });
    let ops = vec![ByteOrderOp::ToLe, ByteOrderOp::ToBe, ByteOrderOp::Swap];
    let sizes = vec![Size::H, Size::W, Size::DW];
    let byte_order = (select(ops), select(sizes), reg())
        .prop_map(|(op, size, dst)| Instruction::ByteOrder { op, size, dst });
    prop_oneof![4 => binary, 1 => mov_sx, 1 => neg, 1 => byte_order].boxed()
}

fn memory() -> BoxedStrategy<Instruction> {
    let load =
        (size(), any::<bool>(), reg(), reg(), off()).prop_map(|(size, signed, dst, base, off)| {
            Instruction::Load {
                size,
                signed: signed && size != Size::DW,
                dst,
                base,
                off,
            }
        });
    let store =
        (size(), reg(), off(), operand()).prop_map(|(size, base, off, src)| Instruction::Store {
            size,
            base,
            off,
            src,
        });
    let atomic =
        (atomic_op(), width(), reg(), off(), reg()).prop_map(|(op, width, base, off, src)| {
            Instruction::Atomic {
                op,
                width,
                base,
                off,
                src,
            }
        });
    prop_oneof![load, store, atomic].boxed()
}

/// Legacy packet loads whose text LLVM prints in full.
fn packet(offset_of_indirect: impl Strategy<Value = i32> + 'static) -> BoxedStrategy<Instruction> {
    let sizes = || select(vec![Size::B, Size::H, Size::W]);
    let absolute = (sizes(), imm()).prop_map(|(size, off)| Instruction::LoadPacket {
        size,
        index: None,
        off,
    });
    let indirect = (sizes(), reg(), offset_of_indirect).prop_map(|(size, index, off)| {
        Instruction::LoadPacket {
            size,
            index: Some(index),
            off,
        }
    });
    prop_oneof![absolute, indirect].boxed()
}

fn jump() -> BoxedStrategy<Instruction> {
    let short = off().prop_map(|delta| Instruction::Jump {
        long: false,
        delta: delta.into(),
    });
    let long = imm().prop_map(|delta| Instruction::Jump { long: true, delta });
    let branch =
        (cond(), width(), reg(), operand(), off()).prop_map(|(cond, width, dst, src, delta)| {
            Instruction::Branch {
                cond,
                width,
                dst,
                src,
                delta,
            }
        });
    let may_goto = off().prop_map(|delta| Instruction::MayGoto { delta });
    prop_oneof![1 => short, 1 => long, 3 => branch, 1 => may_goto].boxed()
}

fn wide() -> BoxedStrategy<Instruction> {
    let value = prop_oneof![any::<u64>(), any::<u32>().prop_map(u64::from), 0u64..16];
    (reg(), value)
        .prop_map(|(dst, value)| Instruction::LoadImm64 {
            dst,
            value: Imm64::Value(value),
        })
        .boxed()
}

fn pseudo() -> BoxedStrategy<Instruction> {
    let value = prop_oneof![
        imm().prop_map(Imm64::MapFd),
        (imm(), any::<u32>()).prop_map(|(fd, offset)| Imm64::MapFdValue { fd, offset }),
        (any::<u32>(), any::<u32>()).prop_map(|(id, btf_fd)| Imm64::BtfId { id, btf_fd }),
        imm().prop_map(|delta| Imm64::Func { delta }),
        any::<u32>().prop_map(Imm64::MapIdx),
        (any::<u32>(), any::<u32>())
            .prop_map(|(index, offset)| Imm64::MapIdxValue { index, offset }),
    ];
    (reg(), value)
        .prop_map(|(dst, value)| Instruction::LoadImm64 { dst, value })
        .boxed()
}

fn ordered() -> BoxedStrategy<Instruction> {
    let acquire =
        (size(), reg(), reg(), off()).prop_map(|(size, dst, base, off)| Instruction::LoadAcquire {
            size,
            dst,
            base,
            off,
        });
    let release = (size(), reg(), off(), reg()).prop_map(|(size, base, off, src)| {
        Instruction::StoreRelease {
            size,
            base,
            off,
            src,
        }
    });
    prop_oneof![acquire, release].boxed()
}

/// Everything that LLVM 19 prints in full and reads back.
pub(crate) fn known_to_llvm() -> BoxedStrategy<Instruction> {
    let cast = (reg(), reg(), any::<u16>(), any::<u16>())
        .prop_map(|(dst, src, to, from)| Instruction::AddrSpaceCast { dst, src, to, from });
    let helper = imm().prop_map(|id| Instruction::Call(CallTarget::Helper(id as u32)));
    let callx = reg().prop_map(|reg| Instruction::Call(CallTarget::Register(reg)));
    prop_oneof![
        8 => alu(),
        8 => memory(),
        1 => packet(Just(0)),
        6 => jump(),
        2 => wide(),
        1 => cast,
        1 => helper,
        1 => callx,
        1 => Just(Instruction::Exit),
    ]
    .boxed()
}

/// Every instruction that has an encoding.
pub(crate) fn instruction() -> BoxedStrategy<Instruction> {
    let local = imm().prop_map(|delta| Instruction::Call(CallTarget::Local(delta)));
    let kfunc = (any::<u32>(), any::<i16>())
        .prop_map(|(id, btf_idx)| Instruction::Call(CallTarget::Kfunc { id, btf_idx }));
    prop_oneof![
        12 => known_to_llvm(),
        2 => pseudo(),
        2 => ordered(),
        1 => packet(imm()),
        1 => local,
        1 => kfunc,
    ]
    .boxed()
}
