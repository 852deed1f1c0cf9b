//! Loads, stores and atomic operations.

use std::borrow::Cow;

use bpftime_isa::{CtxFieldKind, CtxLayout, MapDef, Program, Size};
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::Origin;
use z3::ast::BV;

use crate::alu::sign_extended;
use crate::covered::position;
use crate::state::{State, Unknowns};
use crate::value::{Atom, Value, sum};

/// What a program may look at besides its stack.
pub(crate) struct World<'a> {
    pub(crate) program: &'a Program,
    pub(crate) layout: Option<Cow<'static, CtxLayout>>,
}

/// `BPF_F_RDONLY_PROG`.
const READ_ONLY: u32 = 1 << 7;

impl World<'_> {
    /// Whether the map's values, or those of maps in it, have parts of the kernel's. The index may be
    /// that of a map that is only known to be in another.
    fn has_fields(&self, map: u32) -> bool {
        match self.program.maps.get(map as usize) {
            Some(map) => !map.fields.is_empty(),
            None => true,
        }
    }

    /// Bytes of a map that can no longer change.
    fn frozen(&self, map: u32, offset: u64, size: u8) -> Option<u64> {
        let map: &MapDef = self.program.maps.get(map as usize)?;
        if !map.frozen || map.flags & READ_ONLY == 0 || map.max_entries != 1 {
            return None;
        }
        let value = map.initial.as_deref()?.get(..map.value_size as usize)?;
        let at = usize::try_from(offset).ok()?;
        let bytes = value.get(at..at.checked_add(size.into())?)?;
        let mut padded = [0; 8];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(padded))
    }
}

/// A load.
pub(crate) fn load(
    world: &World<'_>,
    unknowns: &mut Unknowns,
    state: &mut State,
    base: &Value,
    off: i16,
    size: Size,
    signed: bool,
) -> Value {
    let bytes = size.bytes() as u8;
    let value = base.map(|atom| match atom {
        Atom::Pointer(kind, offset) => {
            let offset = sum(offset, &crate::value::constant(i64::from(off) as u64));
            loaded(world, unknowns, state, *kind, &offset, bytes)
        }
        _ => Value::opaque(),
    });
    if signed {
        value.map(|atom| match atom {
            Atom::Number(n) => Value::number(sign_extended(n, size)),
            _ => Value::number(unknowns.number()),
        })
    } else {
        value
    }
}

fn loaded(
    world: &World<'_>,
    unknowns: &mut Unknowns,
    state: &mut State,
    kind: Kind,
    offset: &BV,
    bytes: u8,
) -> Value {
    let fresh = |unknowns: &mut Unknowns, origin: Origin| {
        let term = unknowns.of_size(bytes);
        unknowns.give(origin, Some(offset), &term);
        Value::number(term)
    };
    let known = offset.as_u64();
    let place = known.map_or(-1, |offset| offset as i64);
    match kind {
        Kind::Stack { frame } => {
            let at = known.and_then(|offset| position(offset, 0));
            match (at, state.frames.get_mut(usize::from(frame))) {
                (Some(at), Some(frame)) => {
                    let value = frame.stack.read(unknowns, at, bytes);
                    // Known to the program or not: a run reads just this.
                    if let Some(term) = value.as_number() {
                        unknowns.give(Origin::Stack { size: bytes }, None, term);
                    }
                    value
                }
                // Somewhere in the frame, as was checked.
                _ => fresh(unknowns, Origin::Stack { size: bytes }),
            }
        }
        Kind::Ctx => {
            let field = world
                .layout
                .as_ref()
                .and_then(|layout| layout.readable(place, bytes.into()));
            match field.map(|field| field.kind) {
                Some(CtxFieldKind::PacketStart) => {
                    unknowns.give(Origin::PacketStart, None, &state.packet.address);
                    packet(Kind::Packet)
                }
                Some(CtxFieldKind::PacketEnd) => {
                    let end = sum(&state.packet.address, &state.packet.len);
                    unknowns.give(Origin::PacketEnd, None, &end);
                    packet(Kind::PacketEnd)
                }
                Some(CtxFieldKind::PacketMeta) => packet(Kind::PacketMeta),
                Some(CtxFieldKind::Scalar | CtxFieldKind::UserPointer) => {
                    let origin = Origin::Context {
                        offset: place,
                        size: bytes,
                    };
                    fresh(unknowns, origin)
                }
                _ => Value::opaque(),
            }
        }
        // There may be pointers among the numbers.
        Kind::MapValue { map } if world.has_fields(map) => Value::opaque(),
        Kind::MapValue { map } => match known.and_then(|at| world.frozen(map, at, bytes)) {
            Some(number) => Value::constant(number),
            None => {
                let origin = Origin::MapValue {
                    map,
                    offset: place,
                    size: bytes,
                };
                fresh(unknowns, origin)
            }
        },
        Kind::Packet => {
            let origin = Origin::Packet {
                offset: place,
                size: bytes,
            };
            fresh(unknowns, origin)
        }
        Kind::Memory | Kind::MapKey { .. } | Kind::PacketMeta | Kind::Record { .. } => {
            fresh(unknowns, Origin::Memory { size: bytes })
        }
        // What is behind other pointers may be pointers.
        _ => Value::opaque(),
    }
}

fn packet(kind: Kind) -> Value {
    Value::pointer(kind, crate::value::constant(0))
}

/// A store.
pub(crate) fn store(
    unknowns: &mut Unknowns,
    state: &mut State,
    base: &Value,
    off: i16,
    bytes: u8,
    value: &Value,
) {
    for (guard, atom) in &base.0 {
        let frame = match atom {
            Atom::Pointer(Kind::Stack { frame }, offset) => {
                let at = offset.as_u64().and_then(|o| position(o, off.into()));
                Some((usize::from(*frame), at))
            }
            Atom::Pointer(..) | Atom::Number(_) => continue,
            Atom::Opaque => None,
        };
        match frame {
            Some((frame, at)) => {
                let Some(frame) = state.frames.get_mut(frame) else {
                    continue;
                };
                match (at, guard.as_bool()) {
                    (Some(at), Some(true)) => frame.stack.write(at, bytes, value),
                    (Some(at), _) => frame.stack.write_if(unknowns, guard, at, bytes, value),
                    (None, _) => frame.stack.forget_all(),
                }
            }
            None => {
                for frame in &mut state.frames {
                    frame.stack.forget_all();
                }
            }
        }
    }
}
