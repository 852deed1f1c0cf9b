//! Whether a function can be left otherwise than by its return.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::plan::branch_target;

/// Whether the function, given as all its bytes, calls nothing and jumps nowhere outside, so that
/// no other function can unwind it. Indirect jumps are taken to lead outside.
pub fn is_leaf(code: &[u8], address: u64) -> bool {
    let inside = address..address.saturating_add(code.len() as u64);
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let stays = match instruction.flow_control() {
            FlowControl::Next | FlowControl::Return => !instruction.is_invalid(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                branch_target(&instruction).is_some_and(|target| inside.contains(&target))
            }
            _ => false,
        };
        if !stays {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_leaf;

    #[test]
    fn calls_and_jumps_outside_are_found() {
        let at = 0x1000;
        // xor eax, eax; jne -2; ret
        assert!(is_leaf(&[0x31, 0xc0, 0x75, 0xfc, 0xc3], at));
        // jmp to the byte behind the end
        assert!(!is_leaf(&[0xeb, 0x00], at));
        // jne to the byte before the start
        assert!(!is_leaf(&[0x75, 0xfd, 0xc3], at));
        // call; call rax; jmp rax; syscall
        assert!(!is_leaf(&[0xe8, 0, 0, 0, 0, 0xc3], at));
        assert!(!is_leaf(&[0xff, 0xd0, 0xc3], at));
        assert!(!is_leaf(&[0xff, 0xe0], at));
        assert!(!is_leaf(&[0x0f, 0x05, 0xc3], at));
        // cut off, and no instruction
        assert!(!is_leaf(&[0xe8, 0, 0], at));
        assert!(!is_leaf(&[0x06, 0xc3], at));
    }
}
