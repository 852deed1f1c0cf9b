//! What the interpreter core asks of its surroundings.
//!
//! The two machines of this crate run programs in this process. Others can be written on top of
//! this trait, for example one whose memory, maps and helpers are made up for a test.

use bpftime_isa::{AtomicOp, Size, Width};

use super::trap::TrapReason;

/// Argument registers `r1` to `r5` of a helper call.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// Values; registers that hold nothing are 0.
    pub values: [u64; 5],
    /// Whether each register was written on this path.
    pub initialised: [bool; 5],
}

/// What a call of a helper does.
#[derive(Clone, Copy, Debug)]
pub enum Called {
    /// It returns: a value, or nothing.
    Result(Option<u64>),
    /// It calls a function of the program, and asks [`Machine::called_back`] what to do next with
    /// what that returns.
    Callback {
        /// First slot of the function.
        entry: u32,
        /// `r1` to `r5` that it is called with; `None`: it may not read the register.
        arguments: [Option<u64>; 5],
    },
    /// The running function ends and returns the value, as after a tail call.
    Return(u64),
    /// The program ends with the value, from whatever function, as when it throws.
    End(u64),
}

/// Memory, maps and helpers of a running program. Addresses are those of this process.
pub trait Machine {
    /// Is told of each instruction before it is executed.
    fn executing(&mut self, slot: u32) {
        let _ = slot;
    }

    /// Is told of each comparison of a branch: the operands, and whether it is taken.
    fn comparing(&mut self, left: u64, right: u64, taken: bool) {
        let _ = (left, right, taken);
    }

    /// Reads `size` bytes, zero-extended.
    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason>;

    /// Writes the low `size` bytes of `value`.
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason>;

    /// Carries out `op` and gives what memory held before, zero-extended. `expected` is `r0`,
    /// for [`AtomicOp::Cmpxchg`].
    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason>;

    /// Calls a helper.
    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason>;

    /// Calls a function of the kernel, given by its BTF type.
    fn kfunc(&mut self, id: u32, btf_idx: i16, arguments: Arguments) -> Result<Called, TrapReason> {
        let _ = (id, btf_idx, arguments);
        Err(TrapReason::Unsupported("a call of a kernel function"))
    }

    /// A function that a helper called back has returned.
    fn called_back(&mut self, result: u64) -> Result<Called, TrapReason> {
        Ok(Called::Result(Some(result)))
    }

    /// The address of a function of the program, as helpers take it.
    fn function(&mut self, entry: i64) -> Result<u64, TrapReason> {
        let _ = entry;
        Err(TrapReason::Unsupported("a callback"))
    }

    /// The address of the function or variable of the kernel's with the number in BTF.
    fn kernel_symbol(&mut self, id: u32, btf_fd: u32) -> Result<u64, TrapReason> {
        let _ = (id, btf_fd);
        Err(TrapReason::Unsupported("a kernel variable"))
    }

    /// An address of an arena as seen from address space `to`, 0 for the program's own.
    fn cast_address(&mut self, address: u64, to: u16, from: u16) -> Result<u64, TrapReason> {
        let _ = (address, to, from);
        Err(TrapReason::Unsupported("addr_space_cast"))
    }

    /// Reads a number of the packet in network order, as legacy packet access does; `None` ends
    /// the program with result 0.
    fn load_packet(&mut self, offset: i64, size: Size) -> Result<Option<u64>, TrapReason> {
        let _ = (offset, size);
        Err(TrapReason::Unsupported("legacy packet access"))
    }

    /// The handle of a map, as helpers take it.
    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason>;

    /// The address of a byte of a map's first value.
    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason>;

    /// Makes the stack of a new innermost frame and gives its end, which is `r10`. `depth` is
    /// below [`bpftime_abi::MAX_CALL_FRAMES`].
    fn enter(&mut self, depth: usize) -> u64;

    /// Takes the innermost frame's stack away.
    fn leave(&mut self, depth: usize);
}
