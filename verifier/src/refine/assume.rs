//! States in which a fact holds.

use super::Fact;
use crate::domain::interval::Interval;
use crate::domain::scalar::Scalar;
use crate::domain::state::State;
use crate::domain::tnum::Tnum;
use crate::domain::value::{Id, Kind, Number, Value};

/// Adds the fact, which holds, to what is known; `false` if no run is in the state then.
pub(super) fn assume(state: &mut State, fact: &Fact, last_id: &mut Id) -> bool {
    match *fact {
        Fact::Unreachable => false,
        Fact::Number {
            reg,
            least,
            most,
            half,
        } => {
            let before = *state.reg(reg);
            let within = if half {
                Scalar {
                    narrow: Interval::new(least as u32, most as u32),
                    ..Number::unknown()
                }
            } else {
                Number::range(Interval::new(least as u64, most as u64))
            };
            if !before.is_scalar() {
                state.set(reg, Value::scalar(within));
                return true;
            }
            let Some(number) = before.number.meet(within) else {
                return false;
            };
            let id = before.id;
            state.set(reg, Value { number, ..before });
            if id != 0 {
                state.change_values(
                    |value| value.is_scalar() && value.id == id,
                    |value| value.number = number,
                );
            }
            true
        }
        Fact::Pointer {
            reg,
            kind,
            least,
            most,
            multiple,
            remainder,
        } => {
            let mut value = *state.reg(reg);
            if value.kind != kind {
                value = Value::pointer(kind);
                value.number = Number::unknown();
                if matches!(kind, Kind::Packet | Kind::PacketMeta) {
                    *last_id += 1;
                    value.id = *last_id;
                }
            } else if value.nullable {
                let id = value.id;
                state.change_values(
                    |value| value.nullable && value.id == id,
                    |value| {
                        value.nullable = false;
                        value.id = 0;
                    },
                );
                value = *state.reg(reg);
            }
            let delta = i64::from(value.delta);
            let ends = |end: i64| end.wrapping_sub(delta) as u64;
            let mut within = Number::unknown();
            // With all offsets allowed, moving the ends would leave a hole.
            if (least, most) != (i64::MIN, i64::MAX) {
                within = Number::range(Interval::new(ends(least), ends(most)));
            }
            let low = u64::from(multiple) - 1;
            let aligned = Scalar {
                bits: Tnum {
                    value: ends(i64::from(remainder)) & low,
                    mask: !low,
                },
                ..Number::unknown()
            };
            let met = within
                .meet(aligned)
                .and_then(|within| value.number.meet(within));
            let Some(number) = met else { return false };
            state.set(reg, Value { number, ..value });
            true
        }
        Fact::InPacket { reg, least, end } => {
            let value = *state.reg(reg);
            let delta = i64::from(value.delta);
            // The variable part is what the range counts from.
            let least = least.saturating_sub(delta).max(0);
            let range = u32::try_from(delta.saturating_add(i64::from(end)));
            let (Kind::Packet, Ok(range)) = (value.kind, range) else {
                return true;
            };
            let within = Number::range(Interval::new(least as u64, i64::MAX as u64));
            let Some(number) = value.number.meet(within) else {
                return false;
            };
            state.set(reg, Value { number, ..value });
            let id = value.id;
            state.change_values(
                |value| value.kind == Kind::Packet && value.id == id,
                |value| value.range = value.range.max(range),
            );
            true
        }
    }
}
