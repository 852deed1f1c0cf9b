//! Everything a program needs to run in this process.

mod input;
mod maps;
mod memory;
mod ops;

use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

use bpftime_abi::VmCtx;
use bpftime_helpers::{CAPABILITIES, Env, HELPERS, OpenRecord};
use bpftime_isa::{AttachType, CallTarget, Imm64, Instruction, MapDef, ProgType, Program};
use bpftime_maps::{Caller, MapRef};
use bpftime_verifier::VerifiedProgram;

use crate::interp::checked::{Checked, MapView};
use crate::interp::regions::Regions;
use crate::interp::{self, Interpreter, Trap};
use crate::{Executable, Requirements};
pub use input::{Input, InputError};
use maps::HostMap;
pub use maps::MapError;
use ops::Private;

/// A [`VmCtx`] with maps in memory of this process and helpers over its operating system.
///
/// Its maps keep their contents from run to run.
pub struct HostEnvironment {
    vm: Box<VmCtx>,
    env: Box<Env>,
    private: Box<Private>,
    maps: Vec<HostMap>,
    handles: Box<[u64]>,
    values: Box<[u64]>,
}

/// Why a program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The environment was made for other maps.
    #[error("the program's maps are not those of this environment")]
    Maps,
    /// The program needs helpers or map types that this environment does not offer.
    #[error("the program needs helpers or map types that this environment does not offer")]
    Capabilities,
    /// The program needs what only a kernel has; none of it is run.
    #[error("instruction {slot}: {what} cannot be run here")]
    Unsupported {
        /// Slot of the instruction.
        slot: u32,
        /// What it needs.
        what: &'static str,
    },
    /// The input is for another program type.
    #[error("the input is for programs of type {}, this one is of type {}", .input.name(), .program.name())]
    Input {
        /// What the input is for.
        input: ProgType,
        /// What the program is.
        program: ProgType,
    },
    /// The program was verified for memory of another length.
    #[error("the input has {given} bytes, but the program was verified for {verified:?}")]
    MemoryLen {
        /// Bytes given.
        given: u64,
        /// Bytes at verification, if known.
        verified: Option<u64>,
    },
    /// The interpreter stopped the program.
    #[error(transparent)]
    Trap(#[from] Trap),
}

/// The first instruction that needs what only a kernel has: the interpreter would stop there, with locks held
/// or half of the work done.
fn of_kernel(program: &VerifiedProgram) -> Option<(u32, &'static str)> {
    program.instructions().iter().find_map(|decoded| {
        let what = match decoded.insn {
            Instruction::Call(CallTarget::Kfunc { .. }) => "a call of a kernel function",
            Instruction::LoadImm64 {
                value: Imm64::BtfId { .. },
                ..
            } => "a kernel variable",
            Instruction::AddrSpaceCast { .. } => "an arena",
            _ => return None,
        };
        Some((decoded.slot, what))
    })
}

impl fmt::Debug for HostEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEnvironment")
            .field("maps", &self.maps)
            .finish_non_exhaustive()
    }
}

impl HostEnvironment {
    /// An environment with new maps. What programs print goes to `tracing`, at the level INFO,
    /// until [`Self::set_trace_sink`].
    ///
    /// # Errors
    ///
    /// A map that cannot be made.
    pub fn new(definitions: &[MapDef]) -> Result<Self, MapError> {
        let maps = definitions
            .iter()
            .map(|definition| HostMap::new(definition, ops::random_u64()))
            .collect::<Result<Vec<_>, _>>()?;
        let trace = |line: &[u8]| {
            tracing::info!(target: "trace_printk", "{}", String::from_utf8_lossy(line));
        };
        let vm = VmCtx {
            helpers: HELPERS.as_ptr(),
            maps: ptr::null(),
            map_values: ptr::null(),
            env: ptr::null_mut(),
            cpu: 0,
            reserved: 0,
        };
        Ok(Self {
            vm: Box::new(vm),
            env: Box::new(Env::new(&raw const ops::OPS, Caller::new(0, None))),
            private: Box::new(Private {
                trace: Box::new(trace),
            }),
            handles: maps.iter().map(HostMap::handle).collect(),
            values: maps.iter().map(HostMap::value).collect(),
            maps,
        })
    }

    /// Passes the lines that programs print with `bpf_trace_printk` on, without line ends. The
    /// function must not panic.
    pub fn set_trace_sink(&mut self, sink: impl FnMut(&[u8]) + Send + 'static) {
        self.private.trace = Box::new(sink);
    }

    /// What `bpf_get_attach_cookie` gives.
    pub fn set_cookie(&mut self, cookie: u64) {
        self.env.cookie = cookie;
    }

    /// A map by its index in the program.
    pub fn map(&self, index: usize) -> Option<&MapRef> {
        self.maps.get(index).map(|map| &*map.map)
    }

    /// Runs compiled code on input and gives `r0`.
    ///
    /// # Errors
    ///
    /// Code that was verified for something else than this environment and this input.
    pub fn run(&mut self, executable: &Executable, input: &mut Input) -> Result<u64, RunError> {
        self.check(executable.object().requirements(), input)?;
        let (r1, r2) = input.registers();
        let vm = self.enter();
        // SAFETY: `check` compared everything that the program was verified for.
        Ok(unsafe { executable.run(vm, r1, r2) })
    }

    /// Runs compiled code on the same input `times` times (at least once), as the kernel's
    /// `BPF_PROG_TEST_RUN` does: what a run writes, the next one finds. Gives the last run's
    /// `r0` and the time of all runs together.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    #[doc(alias = "BPF_PROG_TEST_RUN")]
    pub fn run_repeatedly(
        &mut self,
        executable: &Executable,
        input: &mut Input,
        times: u32,
    ) -> Result<(u64, Duration), RunError> {
        self.check(executable.object().requirements(), input)?;
        let (r1, r2) = input.registers();
        let vm = self.enter();
        let start = Instant::now();
        let mut result = 0;
        for _ in 0..times.max(1) {
            // SAFETY: `check` compared everything that the program was verified for.
            result = unsafe { executable.run(vm, r1, r2) };
        }
        Ok((result, start.elapsed()))
    }

    /// Runs a verified program in the interpreter and gives `r0`.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], and instructions that the interpreter does not support.
    pub fn interpret(
        &mut self,
        program: &VerifiedProgram,
        input: &mut Input,
    ) -> Result<u64, RunError> {
        Ok(self.interpret_repeatedly(program, input, 1)?.0)
    }

    /// Runs a verified program in the interpreter on the same input `times` times (at least once), as
    /// [`Self::run_repeatedly`] runs compiled code.
    ///
    /// # Errors
    ///
    /// As [`Self::interpret`].
    pub fn interpret_repeatedly(
        &mut self,
        program: &VerifiedProgram,
        input: &mut Input,
        times: u32,
    ) -> Result<(u64, Duration), RunError> {
        self.check(&Requirements::of(program), input)?;
        if let Some((slot, what)) = of_kernel(program) {
            return Err(RunError::Unsupported { slot, what });
        }
        let (r1, r2) = input.registers();
        let vm = self.enter();
        let interpreter = Interpreter::new(program);
        let start = Instant::now();
        let mut result = 0;
        for _ in 0..times.max(1) {
            // SAFETY: `check` compared everything that the program was verified for.
            result = unsafe { interpreter.run(vm, r1, r2) }?;
        }
        Ok((result, start.elapsed()))
    }

    /// Runs any program, at most `limit` instructions of it, and checks each access and each
    /// helper argument.
    ///
    /// # Errors
    ///
    /// A trap where the program does what it may not, and input of another type.
    pub fn run_checked(
        &mut self,
        program: &Program,
        input: &mut Input,
        limit: u64,
    ) -> Result<u64, RunError> {
        self.check_input(program.prog_type, program.attach_type, input)?;
        self.check_maps(&program.maps)?;
        let (r1, r2) = input.registers();
        let vm = self.enter();
        let maps: Vec<MapView<'_>> = self
            .maps
            .iter()
            .map(|map| MapView {
                definition: &map.definition,
                handle: map.handle(),
                value: map.value(),
            })
            .collect();
        let mut regions = Regions::default();
        for region in input.regions() {
            // SAFETY: the input's memory is mapped and initialised, and borrowed mutably here.
            unsafe { regions.add(region) };
        }
        // SAFETY: `vm` serves these maps and offers these helpers; everything that regions refer
        // to outlives the machine.
        let machine = unsafe { Checked::new(vm, CAPABILITIES, &maps, r1, regions) };
        let result = interp::run_checked(&program.insns, machine, r1, r2, limit);
        self.discard_open_records();
        Ok(result?)
    }

    /// Whether what a program was verified for is what it would get here.
    fn check(&self, required: &Requirements, input: &Input) -> Result<(), RunError> {
        self.check_input(required.prog_type, required.attach_type, input)?;
        self.check_maps(&required.maps)?;
        if !CAPABILITIES.contains(&required.capabilities) {
            return Err(RunError::Capabilities);
        }
        match input.memory_len() {
            Some(given)
                if required
                    .memory_len
                    .is_some_and(|verified| verified != given) =>
            {
                Err(RunError::MemoryLen {
                    given,
                    verified: required.memory_len,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_input(
        &self,
        prog_type: ProgType,
        attach_type: Option<AttachType>,
        input: &Input,
    ) -> Result<(), RunError> {
        if (prog_type, attach_type) == (input.prog_type(), input.attach_type()) {
            Ok(())
        } else {
            Err(RunError::Input {
                input: input.prog_type(),
                program: prog_type,
            })
        }
    }

    fn check_maps(&self, definitions: &[MapDef]) -> Result<(), RunError> {
        if definitions
            .iter()
            .eq(self.maps.iter().map(|map| &map.definition))
        {
            Ok(())
        } else {
            Err(RunError::Maps)
        }
    }

    /// Makes the context ready for a run on the calling thread.
    fn enter(&mut self) -> *mut VmCtx {
        self.env.caller = Caller::new(ops::current_pid_tgid(), Some(ops::owner_alive));
        self.env.private = (&raw mut *self.private).cast();
        self.vm.env = (&raw mut *self.env).cast();
        self.vm.maps = self.handles.as_ptr();
        self.vm.map_values = self.values.as_ptr();
        &raw mut *self.vm
    }

    /// Gives back the ring buffer records that a program left behind when it was stopped.
    fn discard_open_records(&mut self) {
        for open in &mut self.env.open_records {
            let open = std::mem::replace(open, OpenRecord::NONE);
            let map = self
                .maps
                .iter()
                .find(|map| ptr::eq(&raw const *map.map, open.map));
            if let Some(map) = map {
                // SAFETY: the record was reserved in this map by this thread's program, which
                // has ended.
                unsafe { map.map.discard(open.record, 0) };
            }
        }
    }
}
