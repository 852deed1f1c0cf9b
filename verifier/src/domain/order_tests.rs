//! Joins cover what they join, and covering is about what a program can do.

use bpftime_isa::Reg;

use super::join::{How, join};
use super::order::covers;
use super::state::{Reference, State};
use super::value::{Kind, Number, Value};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn value(&mut self) -> Value {
        let nullable = self.below(2) == 0;
        let mut value = match self.below(9) {
            0 => Value::uninit(),
            1 => Value::any(),
            2 => Value::constant(0),
            3 => Value::constant(self.below(4)),
            4 => Value::scalar(Number::below_bits(1 + self.below(63) as u32)),
            5 => Value::pointer(Kind::MapValue {
                map: self.below(2) as u32,
            }),
            6 => Value::pointer(Kind::Packet),
            7 => Value::pointer(Kind::Stack { frame: 0 }),
            _ => Value::pointer(Kind::Ctx),
        };
        match value.kind {
            Kind::Scalar if value.number.as_constant().is_none() => {
                value.id = self.below(3) as u32;
            }
            Kind::MapValue { .. } if nullable => {
                value.nullable = true;
                value.id = 10 + self.below(2) as u32;
            }
            Kind::MapValue { .. } => value.delta = self.below(3) as i32 * 8,
            Kind::Packet => {
                value.range = self.below(3) as u32 * 10;
                if nullable {
                    value.id = 20 + self.below(2) as u32;
                    value.number = Number::below_bits(8);
                }
            }
            _ => {}
        }
        value
    }

    fn state(&mut self) -> State {
        let mut state = State::entry();
        for reg in [Reg::R0, Reg::R1, Reg::R2, Reg::R3] {
            let value = self.value();
            state.set(reg, value);
        }
        for _ in 0..self.below(5) {
            let size = [1, 2, 4, 8][self.below(4) as usize];
            let at = 480 + self.below(4) as usize * 8;
            let value = self.value();
            let value = if size < 8 && !value.is_scalar() {
                Value::unknown()
            } else {
                value
            };
            if let (Some(frame), false) = (state.frame_mut(0), value.kind == Kind::Uninit) {
                frame.stack.write(at, size, value);
            }
        }
        state
    }
}

#[test]
fn a_join_covers_both_sides() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut identity = 1000;
    for _ in 0..15_000 {
        let (a, b) = (random.state(), random.state());
        for how in [
            How::Join,
            How::Widen(&[]),
            How::Widen(&[3, 48, 999, 1 << 33]),
        ] {
            let joined = join(&a, &b, how, &mut identity).expect("one frame, no resources");
            for leaks in [true, false] {
                assert!(covers(&joined, &a, leaks), "{joined}\ndoes not cover\n{a}");
                assert!(covers(&joined, &b, leaks), "{joined}\ndoes not cover\n{b}");
            }
        }
        assert!(covers(&a, &a, false));
    }
}

#[test]
fn pointers_that_are_null_together_do_not_cover_others() {
    let lookup = |id| Value {
        nullable: true,
        id,
        ..Value::pointer(Kind::MapValue { map: 0 })
    };
    let pair = |first, second| {
        let mut state = State::entry();
        state.set(Reg::R1, first);
        state.set(Reg::R2, second);
        state
    };
    let together = pair(lookup(1), lookup(1));
    let apart = pair(lookup(1), lookup(2));
    let tested = pair(Value::pointer(Kind::MapValue { map: 0 }), lookup(2));
    assert!(!covers(&together, &apart, true));
    assert!(!covers(&together, &tested, true));
    assert!(covers(&apart, &together, true));
    assert!(covers(&apart, &tested, true));
}

#[test]
fn equal_numbers_do_not_cover_unequal_ones() {
    let number = |id| Value {
        id,
        ..Value::unknown()
    };
    let pair = |first, second| {
        let mut state = State::entry();
        state.set(Reg::R1, first);
        state.set(Reg::R2, second);
        state
    };
    assert!(!covers(
        &pair(number(1), number(1)),
        &pair(number(1), number(2)),
        true
    ));
    assert!(!covers(
        &pair(number(1), number(1)),
        &pair(number(0), number(0)),
        true
    ));
    assert!(covers(
        &pair(number(1), number(2)),
        &pair(number(3), number(3)),
        true
    ));
}

#[test]
fn a_state_that_holds_a_resource_covers_none_without() {
    let mut holds = State::entry();
    holds.references.push(Reference { id: 1, slot: 5 });
    let free = State::entry();
    assert!(!covers(&holds, &free, true) && !covers(&free, &holds, true));
    let mut identity = 10;
    assert!(join(&holds, &free, How::Join, &mut identity).is_none());
}

#[test]
fn a_packet_pointer_with_less_range_is_not_covered() {
    let with_range = |range| {
        let mut state = State::entry();
        state.set(
            Reg::R1,
            Value {
                range,
                ..Value::pointer(Kind::Packet)
            },
        );
        state
    };
    assert!(covers(&with_range(10), &with_range(20), true));
    assert!(!covers(&with_range(20), &with_range(10), true));
}

/// A callee's number that equals one of its caller's covers none that does not, also where both states have
/// the very same memory for the caller's frame.
#[test]
fn frames_that_are_shared_still_bind_identities() {
    let number = |id| Value {
        id,
        ..Value::scalar(Number::below_bits(8))
    };
    for kind in [
        Value::scalar(Number::below_bits(8)),
        Value::pointer(Kind::Packet),
    ] {
        let value = |id| Value { id, ..kind };
        let mut caller = State::entry();
        caller.set(Reg::R6, value(5));
        caller.set(Reg::R7, value(7));
        let with = |id| {
            let mut state = caller.clone();
            state.push();
            state.set(Reg::R1, value(id));
            state
        };
        let (six, seven, other) = (with(5), with(7), with(9));
        for (general, special, expected) in [
            (&six, &six, true),
            (&six, &seven, false),
            (&seven, &six, false),
            (&six, &other, false),
        ] {
            assert_eq!(
                covers(general, special, true),
                expected,
                "{general} {special}"
            );
        }
    }
    // On the stack as well.
    let mut caller = State::entry();
    if let Some(frame) = caller.frame_mut(0) {
        frame.stack.write(504, 8, number(5));
    }
    let with = |id| {
        let mut state = caller.clone();
        state.push();
        state.set(Reg::R1, number(id));
        state
    };
    assert!(covers(&with(5), &with(5), true));
    assert!(!covers(&with(5), &with(6), true));
}
