//! Registers, stacks and the packet's length, as terms.

use bpftime_isa::Reg;
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::Origin;
use z3::ast::{BV, Bool};

use crate::stack::Stack;
use crate::value::{Value, choose, constant};

/// An unknown that a witness gives a value to.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// Node ([`crate::path`]) at whose block it is received.
    pub(crate) node: u32,
    /// Slot of the instruction.
    pub(crate) slot: u32,
    pub(crate) origin: Origin,
    /// Offset from which it is loaded, where the origin has one.
    pub(crate) offset: Option<BV>,
    pub(crate) term: BV,
}

/// Makes unknowns, with names that depend on nothing but their order.
#[derive(Debug, Default)]
pub(crate) struct Unknowns {
    made: u64,
    /// What holds of unknowns whatever happens; each can be satisfied by itself.
    pub(crate) always: Vec<Bool>,
    pub(crate) given: Vec<Given>,
    /// Where the instruction is that is being encoded: node, slot.
    pub(crate) at: (u32, u32),
}

impl Unknowns {
    pub(crate) fn bits(&mut self, bits: u32) -> BV {
        self.made += 1;
        BV::new_const(format!("x{}", self.made), bits)
    }

    pub(crate) fn truth(&mut self) -> Bool {
        self.made += 1;
        Bool::new_const(format!("p{}", self.made))
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> BV {
        self.bits(64)
    }

    /// Any number of that many bytes, zero-extended.
    pub(crate) fn of_size(&mut self, bytes: u8) -> BV {
        match bytes {
            1 | 2 | 4 => {
                let bits = 8 * u32::from(bytes);
                self.bits(bits).zero_ext(64 - bits)
            }
            _ => self.bits(64),
        }
    }

    /// Notes that the program is given the unknown here.
    pub(crate) fn give(&mut self, origin: Origin, offset: Option<&BV>, term: &BV) {
        let (node, slot) = self.at;
        self.given.push(Given {
            node,
            slot,
            origin,
            offset: offset.cloned(),
            term: term.clone(),
        });
    }
}

/// Registers and stack of one call.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) regs: [Value; 11],
    pub(crate) stack: Stack,
}

impl Frame {
    fn new(depth: u8) -> Self {
        let mut regs = std::array::from_fn(|_| Value::opaque());
        regs[Reg::R10.index()] = Value::pointer(Kind::Stack { frame: depth }, constant(0));
        Self {
            regs,
            stack: Stack::default(),
        }
    }
}

/// The packet: where it lies and how long it is.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) address: BV,
    pub(crate) len: BV,
}

/// Greatest length of a packet.
const MAX_LEN: u64 = u32::MAX as u64;

/// No packet ends so near to the end of the address space (kernel `MAX_PACKET_OFF`).
const TOP: u64 = 0xffff;

impl Packet {
    pub(crate) fn new(unknowns: &mut Unknowns) -> Self {
        let (address, len) = (unknowns.number(), unknowns.number());
        unknowns.always.push(len.bvule(constant(MAX_LEN)));
        unknowns.always.push(address.bvugt(constant(0)));
        let last = constant(u64::MAX - TOP).bvsub(&len);
        unknowns.always.push(address.bvule(&last));
        Self { address, len }
    }
}

/// All frames, the main program's first.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) frames: Vec<Frame>,
    pub(crate) packet: Packet,
}

impl State {
    /// Frames of which nothing is known.
    pub(crate) fn new(unknowns: &mut Unknowns, depth: usize) -> Self {
        Self {
            frames: (0..depth).map(|depth| Frame::new(depth as u8)).collect(),
            packet: Packet::new(unknowns),
        }
    }

    fn top(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// A register of the running function.
    pub(crate) fn reg(&self, reg: Reg) -> &Value {
        &self.frames[self.frames.len() - 1].regs[reg.index()]
    }

    /// Sets a register of the running function.
    pub(crate) fn set(&mut self, reg: Reg, value: Value) {
        self.top().regs[reg.index()] = value;
    }

    /// Enters a subprogram.
    pub(crate) fn push(&mut self) {
        let mut frame = Frame::new(self.frames.len() as u8);
        frame.regs[1..=5].clone_from_slice(&self.top().regs[1..=5]);
        self.clear_caller_saved();
        self.frames.push(frame);
    }

    /// Returns from a subprogram.
    pub(crate) fn pop(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        let gone = self.frames.len() as u8 - 1;
        let result = self.reg(Reg::R0).clone();
        self.frames.pop();
        self.clear_caller_saved();
        self.set(Reg::R0, result);
        self.change(&mut |kind| match kind {
            Kind::Stack { frame } if frame == gone => Some(Value::opaque()),
            _ => None,
        });
    }

    /// `r0` to `r5` hold anything.
    pub(crate) fn clear_caller_saved(&mut self) {
        self.top().regs[..=5].fill(Value::opaque());
    }

    /// Replaces pointers of some kinds, everywhere.
    pub(crate) fn change(&mut self, replace: &mut dyn FnMut(Kind) -> Option<Value>) {
        let mut change = |value: &Value| {
            use crate::value::Atom;
            let is_pointer = |atom: &Atom| matches!(atom, Atom::Pointer(..));
            if !value.0.iter().any(|(_, atom)| is_pointer(atom)) {
                return None;
            }
            Some(value.map(|atom| match atom {
                Atom::Number(number) => Value::number(number.clone()),
                Atom::Pointer(kind, offset) => {
                    replace(*kind).unwrap_or_else(|| Value::pointer(*kind, offset.clone()))
                }
                Atom::Opaque => Value::opaque(),
            }))
        };
        for frame in &mut self.frames {
            for value in &mut frame.regs {
                if let Some(changed) = change(value) {
                    *value = changed;
                }
            }
            frame.stack.change(&mut change);
        }
    }

    /// `a` if the condition holds, else `b`; they have the same number of frames.
    pub(crate) fn choose(unknowns: &mut Unknowns, condition: &Bool, a: &Self, b: &Self) -> Self {
        let frames = a.frames.iter().zip(&b.frames).map(|(x, y)| Frame {
            regs: std::array::from_fn(|reg| choose(condition, &x.regs[reg], &y.regs[reg])),
            stack: Stack::choose(unknowns, condition, &x.stack, &y.stack),
        });
        Self {
            frames: frames.collect(),
            packet: Packet {
                address: pick(condition, &a.packet.address, &b.packet.address),
                len: pick(condition, &a.packet.len, &b.packet.len),
            },
        }
    }
}

fn pick(condition: &Bool, a: &BV, b: &BV) -> BV {
    if a.ast_eq(b) {
        a.clone()
    } else {
        condition.ite(a, b)
    }
}
