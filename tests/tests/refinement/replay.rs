//! Runs a program in the checked interpreter on what a witness says that it is given, or on
//! anything.
//!
//! Addresses are made up: each memory has its own, far from the others. What is loaded from
//! memory that others may change, or what a helper returns, is the next input of the witness if
//! that was received by the same instruction, and zero where the witness has no more. An access
//! outside, by the program or by a helper on its behalf, is what a witness is to show.

use std::borrow::Cow;
use std::collections::VecDeque;

use bpftime_isa::{
    ArgType, AtomicOp, CtxFieldKind, CtxLayout, Program, RetType, Size, Width, context, helper,
};
use bpftime_verifier::refine::{Input, Origin, Witness};
use bpftime_vm::TrapReason;
use bpftime_vm::interp::machine::{Arguments, Called, Machine};
use bpftime_vm::interp::run_on;

use super::random::Random;

const CONTEXT: u64 = 0x1000_0000_0000;
const STACKS: u64 = 0x2000_0000_0000;
const VALUES: u64 = 0x3000_0000_0000;
const MAPS: u64 = 0x5000_0000_0000;
/// From one memory of a sort to the next.
const APART: u64 = 1 << 32;
/// Where the context has 32 bits for it.
const PACKET: u64 = 0x6000_0000;
const STACK_BYTES: u64 = 512;

/// What came of a run.
pub(crate) enum Replayed {
    /// An access outside: slot, and what it was.
    Violation(u32, String),
    /// The run ended otherwise.
    Ended(String),
}

impl std::fmt::Display for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Violation(slot, what) => write!(f, "{what} at {slot}"),
            Self::Ended(how) => write!(f, "it ended with {how}"),
        }
    }
}

/// What a program is given.
enum Source {
    Witness(VecDeque<Input>),
    Any(Random),
}

struct World<'a> {
    program: &'a Program,
    layout: Cow<'static, CtxLayout>,
    source: Source,
    slot: u32,
    /// First address and first after it.
    packet: (u64, u64),
    /// Lengths of values of maps, by number.
    values: Vec<u64>,
    stacks: Vec<Vec<u8>>,
    violation: Option<(u32, String)>,
}

impl World<'_> {
    /// The next input of the witness, if it was received here, or any number.
    fn input(&mut self) -> Option<Input> {
        match &mut self.source {
            Source::Witness(inputs) => inputs.pop_front_if(|input| input.slot == self.slot),
            Source::Any(random) => Some(Input {
                slot: self.slot,
                origin: Origin::Memory { size: 8 },
                value: random.number(),
            }),
        }
    }

    fn refuse(&mut self, what: String) -> TrapReason {
        self.violation.get_or_insert((self.slot, what));
        TrapReason::Unsupported("an access outside")
    }

    /// The bytes of a stack.
    fn stack(&mut self, address: u64, bytes: u64) -> Option<&mut [u8]> {
        let frame = usize::try_from(address.checked_sub(STACKS)? / APART).ok()?;
        let at = usize::try_from((address - STACKS) % APART).ok()?;
        self.stacks.get_mut(frame)?.get_mut(at..at + bytes as usize)
    }

    /// Whether the bytes are in memory other than a stack.
    fn elsewhere(&self, address: u64, bytes: u64) -> bool {
        let inside = |from: u64, len: u64| {
            let end = address
                .checked_sub(from)
                .and_then(|far| far.checked_add(bytes));
            end.is_some_and(|end| end <= len)
        };
        let value = address
            .checked_sub(VALUES)
            .and_then(|far| Some((far / APART, self.values.get((far / APART) as usize)?)));
        inside(CONTEXT, self.layout.size.into())
            || inside(self.packet.0, self.packet.1.saturating_sub(self.packet.0))
            || value.is_some_and(|(number, len)| inside(VALUES + number * APART, *len))
    }

    fn value(&mut self, map: usize) -> u64 {
        let len = self.program.maps.get(map).map_or(0, |map| map.value_size);
        self.values.push(len.into());
        VALUES + (self.values.len() as u64 - 1) * APART
    }

    /// Memory that a helper uses is there.
    fn arguments(&mut self, proto: &bpftime_isa::HelperProto, values: [u64; 5]) -> Option<()> {
        let map = values.into_iter().find_map(|value| {
            let number = value.checked_sub(MAPS)? / APART;
            self.program.maps.get(usize::try_from(number).ok()?)
        });
        for (position, argument) in proto.args.into_iter().enumerate() {
            let bytes = match argument {
                ArgType::MapKey => map?.key_size.into(),
                ArgType::MapValue | ArgType::UninitMapValue => map?.value_size.into(),
                ArgType::FixedMemRead(bytes)
                | ArgType::FixedMemWrite(bytes)
                | ArgType::FixedMemReadWrite(bytes) => bytes.into(),
                ArgType::MemRead
                | ArgType::MemReadOrNull
                | ArgType::MemWrite
                | ArgType::MemWriteOrNull
                | ArgType::UninitMem
                | ArgType::UninitMemOrNull => values[position + 1],
                _ => continue,
            };
            let address = values[position];
            if bytes > 1 << 20
                || !(self.stack(address, bytes).is_some() || self.elsewhere(address, bytes))
            {
                self.refuse(format!("{bytes} bytes at {address:#x} for a helper"));
                return None;
            }
        }
        Some(())
    }
}

fn low(value: u64, bytes: u64) -> u64 {
    value & (u64::MAX >> (64 - 8 * bytes))
}

impl Machine for World<'_> {
    fn executing(&mut self, slot: u32) {
        self.slot = slot;
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason> {
        let bytes = u64::from(size.bytes());
        if let Some(memory) = self.stack(address, bytes) {
            let mut padded = [0; 8];
            padded[..bytes as usize].copy_from_slice(memory);
            let known = u64::from_le_bytes(padded);
            if let Source::Any(_) = self.source {
                return Ok(known);
            }
            // What helpers wrote, or nobody.
            return Ok(self.input().map_or(known, |input| low(input.value, bytes)));
        }
        if !self.elsewhere(address, bytes) {
            return Err(self.refuse(format!("a load of {bytes} bytes at {address:#x}")));
        }
        let input = self.input();
        if let (Some(input), Source::Witness(_)) = (&input, &self.source) {
            match input.origin {
                Origin::PacketStart => self.packet.0 = input.value,
                Origin::PacketEnd => self.packet.1 = input.value,
                _ => return Ok(low(input.value, bytes)),
            }
            return Ok(input.value);
        }
        let offset = address.wrapping_sub(CONTEXT) as i64;
        let field = self.layout.readable(offset, size.bytes());
        Ok(match field.map(|field| field.kind) {
            Some(CtxFieldKind::PacketStart | CtxFieldKind::PacketMeta) => self.packet.0,
            Some(CtxFieldKind::PacketEnd) => self.packet.1,
            _ => input.map_or(0, |input| low(input.value, bytes)),
        })
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        let bytes = u64::from(size.bytes());
        if let Some(memory) = self.stack(address, bytes) {
            memory.copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
            return Ok(());
        }
        if !self.elsewhere(address, bytes) {
            return Err(self.refuse(format!("a store of {bytes} bytes at {address:#x}")));
        }
        Ok(())
    }

    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        _op: AtomicOp,
        _operand: u64,
        _expected: u64,
    ) -> Result<u64, TrapReason> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        self.load(address, size)
    }

    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason> {
        let proto = helper::proto(number).ok_or(TrapReason::Unsupported("a helper"))?;
        if self.arguments(proto, arguments.values).is_none() {
            return Err(TrapReason::Unsupported("an access outside"));
        }
        let result = self.input().map_or(0, |input| input.value);
        let map = arguments.values[0].wrapping_sub(MAPS) / APART;
        Ok(Called::Result(match proto.ret {
            RetType::Void => None,
            RetType::MapValueOrNull if result == 0 => Some(0),
            RetType::MapValueOrNull | RetType::MapValue => Some(self.value(map as usize)),
            _ => Some(result),
        }))
    }

    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason> {
        Ok(MAPS + u64::from(index) * APART)
    }

    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason> {
        Ok(self.value(index as usize) + u64::from(offset))
    }

    fn enter(&mut self, _depth: usize) -> u64 {
        self.stacks.push(vec![0; STACK_BYTES as usize]);
        STACKS + (self.stacks.len() as u64 - 1) * APART + STACK_BYTES
    }

    fn leave(&mut self, _depth: usize) {
        self.stacks.pop();
    }
}

fn run(program: &Program, source: Source, packet: (u64, u64)) -> Replayed {
    let Some(layout) = context::of(program) else {
        return Replayed::Ended("a context that is not known".to_owned());
    };
    let mut world = World {
        program,
        layout,
        source,
        slot: 0,
        packet,
        values: Vec::new(),
        stacks: Vec::new(),
        violation: None,
    };
    let result = run_on(&program.insns, &mut world, CONTEXT, 0, 1_000_000);
    match (world.violation, result) {
        (Some((slot, what)), _) => Replayed::Violation(slot, what),
        (None, result) => Replayed::Ended(format!("{result:?}")),
    }
}

/// Runs the program on the witness.
pub(crate) fn replay(program: &Program, witness: &Witness) -> Replayed {
    let inputs = witness.inputs.iter().cloned().collect();
    run(program, Source::Witness(inputs), (0, 0))
}

/// Runs the program on anything, with a packet of any small length.
pub(crate) fn anything(program: &Program, mut random: Random) -> Replayed {
    let packet = (PACKET, PACKET + random.below(70));
    run(program, Source::Any(random), packet)
}
