//! The machine of verified programs: accesses go straight to memory.

use bpftime_abi::{STACK_SIZE, VmCtx};
use bpftime_isa::{AtomicOp, Size, Width};

use super::loops::{LOOP, Loops};
use super::machine::{Arguments, Called, Machine};
use super::raw;
use super::stack::Stacks;
use super::trap::TrapReason;

/// Runs a verified program over a [`VmCtx`] made for it.
///
/// Every access is one that the verifier proved to lie in memory that the program may use; that
/// is what the SAFETY comments here mean by "verified".
pub(crate) struct Direct {
    vm: *mut VmCtx,
    stacks: Stacks,
    loops: Loops,
}

impl Direct {
    /// # Safety
    ///
    /// `vm` is valid and serves the verified program which, and which alone, runs on this
    /// machine, with arguments as its type says.
    pub(crate) unsafe fn new(vm: *mut VmCtx) -> Self {
        Self {
            vm,
            stacks: Stacks::new(),
            loops: Loops::default(),
        }
    }
}

impl Machine for Direct {
    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason> {
        // SAFETY: verified.
        Ok(unsafe { raw::load(address, size) })
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        // SAFETY: verified.
        unsafe { raw::store(address, size, value) };
        Ok(())
    }

    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason> {
        // SAFETY: verified, and the core checked the alignment.
        Ok(unsafe { raw::atomic(address, width, op, operand, expected) })
    }

    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason> {
        if number == LOOP {
            return Ok(self.loops.begin(arguments));
        }
        let [r1, r2, r3, r4, r5] = arguments.values;
        // SAFETY: the helper table has an entry for every helper that the verifier accepts, and
        // the arguments are verified.
        let result = unsafe {
            let helper = *(*self.vm).helpers.add(number as usize);
            helper(self.vm, r1, r2, r3, r4, r5)
        };
        Ok(Called::Result(Some(result)))
    }

    fn called_back(&mut self, result: u64) -> Result<Called, TrapReason> {
        Ok(self.loops.next(result))
    }

    fn function(&mut self, entry: i64) -> Result<u64, TrapReason> {
        Ok(Loops::address(entry))
    }

    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason> {
        // SAFETY: verified: the index is that of one of the program's maps.
        Ok(unsafe { *(*self.vm).maps.add(index as usize) })
    }

    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason> {
        // SAFETY: verified: the index is that of one of the program's maps.
        let first = unsafe { *(*self.vm).map_values.add(index as usize) };
        Ok(first.wrapping_add(offset.into()))
    }

    fn enter(&mut self, depth: usize) -> u64 {
        self.stacks.enter(depth) + STACK_SIZE as u64
    }

    fn leave(&mut self, _depth: usize) {}
}
