//! Things that live on a stack and are only used through kernel functions and helpers.

use bpftime_isa::Reg;

use super::Failure;
use crate::diagnostic::Code;
use crate::domain::stack;
use crate::domain::state::State;
use crate::domain::value::Kind;

/// Where on a stack something of so many bytes is, or is to be: frame and first byte. `kernel` is what
/// the kernel says where it cannot be there.
pub(super) fn place_on_stack(
    state: &State,
    reg: Reg,
    size: u32,
    kernel: impl FnOnce() -> String,
) -> Result<(usize, usize), Failure> {
    let value = state.reg(reg);
    let size = i64::from(size);
    let place = match (value.kind, value.constant_offset()) {
        (Kind::Stack { frame }, Some(offset))
            if offset >= -(stack::SIZE as i64) && offset <= -size && offset % 8 == 0 =>
        {
            let at = (stack::SIZE as i64 + offset) as usize;
            state.frame(frame.into()).map(|_| (usize::from(frame), at))
        }
        _ => None,
    };
    place.ok_or_else(|| {
        Failure::new(
            Code::HelperArgument,
            format!("the address of {size} bytes of the stack in {reg}"),
            value.to_string(),
            kernel(),
        )
    })
}
