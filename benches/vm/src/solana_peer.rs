//! The JIT of the crate `solana-sbpf`, in its version 3 of the instruction set, which is near cpu v3. It
//! translates each address at run time, counts instructions and adds random padding; the last two are
//! switched off here, as no other engine does so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use bpftime_drivers::{Engine, Loaded};
use bpftime_isa::Program;
use solana_sbpf::aligned_memory::AlignedMemory;
use solana_sbpf::ebpf::{HOST_ALIGN, MM_INPUT_START, MM_STACK_START};
use solana_sbpf::elf::Executable;
use solana_sbpf::error::{EbpfError, ProgramResult};
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::verifier::RequisiteVerifier;
use solana_sbpf::vm::{Config, ContextObject, EbpfVm, ExecutionMode};

use crate::native::words;

const VERSION: SBPFVersion = SBPFVersion::V3;

/// The JIT of solana-sbpf.
pub(crate) struct Solana;

/// Where its machine finds memory; nothing is counted.
struct Context(MemoryMapping);

impl ContextObject for Context {
    fn consume(&mut self, _: u64) {}

    fn get_remaining(&self) -> u64 {
        u64::MAX / 2
    }

    fn active_mapping_ptr(&mut self) -> NonNull<MemoryMapping> {
        NonNull::from(&mut self.0)
    }
}

/// Its errors cannot be sent to other threads.
fn said(error: EbpfError) -> anyhow::Error {
    anyhow!("{error}")
}

struct Ready {
    executable: Executable<Context>,
    loader: Arc<BuiltinProgram<Context>>,
    memory: Vec<u64>,
    len: usize,
}

impl Engine for Solana {
    fn name(&self) -> &'static str {
        "solana-sbpf jit"
    }

    fn load(&self, program: Program, memory_len: usize) -> Result<Box<dyn Loaded>> {
        ensure!(program.maps.is_empty(), "it has no maps");
        let bytes: Vec<u8> = program
            .insns
            .iter()
            .flat_map(|insn| insn.to_le_bytes())
            .collect();
        let config = Config {
            enable_instruction_meter: false,
            noop_instruction_rate: 0,
            sanitize_user_provided_values: false,
            ..Config::default()
        };
        let loader = Arc::new(BuiltinProgram::new_loader(config));
        let registry = FunctionRegistry::default();
        let made = catch_unwind(AssertUnwindSafe(|| -> Result<_> {
            let executable =
                Executable::from_text_bytes(&bytes, Arc::clone(&loader), VERSION, registry)
                    .map_err(said)?;
            executable.verify::<RequisiteVerifier>().map_err(said)?;
            executable.jit_compile().map_err(said)?;
            Ok(executable)
        }));
        let executable = made.map_err(|_| anyhow!("it panics when it compiles the program"))??;
        Ok(Box::new(Ready {
            executable,
            loader,
            memory: Vec::new(),
            len: memory_len,
        }))
    }
}

impl Loaded for Ready {
    fn set_memory(&mut self, memory: &[u8]) -> Result<()> {
        self.memory = words(memory);
        self.len = memory.len();
        Ok(())
    }

    fn run(&mut self, times: u32) -> Result<u64> {
        let config = self.executable.get_config();
        let stack_len = config.stack_size();
        let mut stack = AlignedMemory::<{ HOST_ALIGN }>::zero_filled(stack_len);
        let given: *mut [u8] =
            std::ptr::slice_from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.len);
        let regions = vec![
            self.executable.get_ro_region(),
            MemoryRegion::new(&mut stack, MM_STACK_START),
            MemoryRegion::new(given, MM_INPUT_START),
        ];
        // SAFETY: stack and memory live longer than the mapping, are bytes, and nobody else uses them.
        let mapping = unsafe { MemoryMapping::new(regions, config, VERSION) }.map_err(said)?;
        let mut context = Context(mapping);
        let mut machine = EbpfVm::new(Arc::clone(&self.loader), VERSION, &mut context, stack_len);
        machine.registers[1] = MM_INPUT_START;
        machine.registers[2] = self.len as u64;
        let registers = machine.registers;
        let mut result = 0;
        for _ in 0..times.max(1) {
            machine.registers = registers;
            let (_, given) =
                machine.execute_program(&self.executable, &mut ExecutionMode::Jit, &mut []);
            result = match given {
                ProgramResult::Ok(value) => value,
                ProgramResult::Err(error) => return Err(said(error)),
            };
        }
        Ok(result)
    }
}
