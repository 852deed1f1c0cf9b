//! What becomes of pointers into a packet that something may have moved.

use super::dynptr::is_packet_slice;
use super::invalid;
use crate::domain::state::State;
use crate::domain::value::Kind;
use crate::env::Env;

/// The packet may be elsewhere now, and of another length: nothing that points into it is usable.
pub(super) fn moved(env: &Env<'_>, state: &mut State) {
    let gone = invalid(env);
    state.change_values(
        |value| {
            is_packet_slice(value)
                || matches!(
                    value.kind,
                    Kind::Packet | Kind::PacketMeta | Kind::PacketEnd
                )
        },
        |value| *value = gone,
    );
}
