//! A printer of ubpf's notation, for what that notation can say.

use bpftime_isa::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Instruction, Operand, Size, Width,
};

pub(crate) fn print(insn: &Instruction) -> Option<String> {
    Some(match *insn {
        Instruction::Alu {
            op,
            width,
            dst,
            src,
        } => {
            let name = match op {
                AluOp::Add => "add",
                AluOp::Sub => "sub",
                AluOp::Mul => "mul",
                AluOp::Div => "div",
                AluOp::Sdiv => "sdiv",
                AluOp::Mod => "mod",
                AluOp::Smod => "smod",
                AluOp::Or => "or",
                AluOp::And => "and",
                AluOp::Xor => "xor",
                AluOp::Lsh => "lsh",
                AluOp::Rsh => "rsh",
                AluOp::Arsh => "arsh",
                AluOp::Mov => "mov",
            };
            format!("{name}{} %{dst}, {}", suffix(width), operand(src))
        }
        Instruction::MovSx {
            width,
            from,
            dst,
            src,
        } => {
            let to = if width == Width::W32 { 32 } else { 64 };
            format!("movsx{}{to} %{dst}, %{src}", 8 * from.bytes())
        }
        Instruction::Neg { width, dst } => format!("neg{} %{dst}", suffix(width)),
        Instruction::ByteOrder { op, size, dst } => {
            let name = match op {
                ByteOrderOp::ToLe => "le",
                ByteOrderOp::ToBe => "be",
                ByteOrderOp::Swap => "swap",
            };
            format!("{name}{} %{dst}", 8 * size.bytes())
        }
        Instruction::LoadImm64 {
            dst,
            value: Imm64::Value(value),
        } => format!("lddw %{dst}, {value:#x}"),
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => {
            let sign = if signed { "s" } else { "" };
            format!("ldx{sign}{} %{dst}, [%{base}{off:+}]", letter(size))
        }
        Instruction::Store {
            size,
            base,
            off,
            src,
        } => {
            let kind = if matches!(src, Operand::Reg(_)) {
                "stx"
            } else {
                "st"
            };
            format!("{kind}{} [%{base}{off:+}], {}", letter(size), operand(src))
        }
        Instruction::Atomic {
            op,
            width,
            base,
            off,
            src,
        } => {
            let fetched = |fetch, name| {
                if fetch {
                    format!("fetch {name}")
                } else {
                    String::from(name)
                }
            };
            let name = match op {
                AtomicOp::Add { fetch } => fetched(fetch, "add"),
                AtomicOp::Or { fetch } => fetched(fetch, "or"),
                AtomicOp::And { fetch } => fetched(fetch, "and"),
                AtomicOp::Xor { fetch } => fetched(fetch, "xor"),
                AtomicOp::Xchg => fetched(false, "xchg"),
                AtomicOp::Cmpxchg => fetched(true, "cmpxchg"),
            };
            format!("lock {name}{} [%{base}{off:+}], %{src}", suffix(width))
        }
        Instruction::Jump { long, delta } => {
            format!("ja{} {delta:+}", if long { "32" } else { "" })
        }
        Instruction::Branch {
            cond,
            width,
            dst,
            src,
            delta,
        } => {
            let name = match cond {
                Cond::Eq => "jeq",
                Cond::Ne => "jne",
                Cond::Gt => "jgt",
                Cond::Ge => "jge",
                Cond::Lt => "jlt",
                Cond::Le => "jle",
                Cond::Set => "jset",
                Cond::Sgt => "jsgt",
                Cond::Sge => "jsge",
                Cond::Slt => "jslt",
                Cond::Sle => "jsle",
            };
            format!(
                "{name}{} %{dst}, {}, {delta:+}",
                suffix(width),
                operand(src)
            )
        }
        Instruction::Call(CallTarget::Helper(id)) => format!("call {id}"),
        Instruction::Call(CallTarget::Local(delta)) => format!("call local {delta:+}"),
        Instruction::Call(CallTarget::Register(reg)) => format!("call %{reg}"),
        Instruction::Exit => String::from("exit"),
        _ => return None,
    })
}

fn suffix(width: Width) -> &'static str {
    match width {
        Width::W32 => "32",
        Width::W64 => "",
    }
}

fn letter(size: Size) -> &'static str {
    match size {
        Size::B => "b",
        Size::H => "h",
        Size::W => "w",
        Size::DW => "dw",
    }
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Reg(reg) => format!("%{reg}"),
        Operand::Imm(imm) => imm.to_string(),
    }
}
