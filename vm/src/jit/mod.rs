//! The compiler: verified programs become position-independent x86-64 code.
//!
//! Each function of the program becomes a Cranelift function; their code is joined and the calls
//! between them are resolved here. The result refers to nothing outside itself but the
//! [`bpftime_abi::VmCtx`] pointer that it is called with, and touches no xmm or ymm register, so
//! the same bytes run in this process ([`crate::Executable`]) and in any other.

mod alu;
mod callback;
mod error;
mod functions;
mod link;
mod lookup;
mod lower;
mod memory;
mod object;
mod proved;

use bpftime_isa::Decoded;
use bpftime_verifier::VerifiedProgram;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, UserFuncName};
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CompiledCode, Context};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

pub use error::CompileError;
use functions::{Function, Functions};
use link::Linker;
pub use object::CodeObject;
use proved::Proved;

/// Compiles a verified program.
///
/// # Errors
///
/// An instruction that the JIT does not support, or a failure inside Cranelift.
pub fn compile(program: &VerifiedProgram) -> Result<CodeObject, CompileError> {
    let native = compile_instructions(program.instructions(), &Proved::of(program))?;
    Ok(CodeObject::new(native, program))
}

/// Machine code of a whole program.
#[derive(Debug)]
pub(crate) struct Native {
    code: Vec<u8>,
    entry: usize,
    stack_bytes: usize,
}

/// Compiles instructions that are verified, or that are only to be looked at.
fn compile_instructions(decoded: &[Decoded], proved: &Proved<'_>) -> Result<Native, CompileError> {
    let functions = Functions::find(decoded, proved)?;
    // Refuses recursion before anything is compiled.
    functions.deepest(&Default::default())?;
    let isa = target(Registers::Searched)?;
    // Made only if there are such functions.
    let mut quick = None;
    let mut linker = Linker::default();
    let mut context = Context::new();
    let mut builder_context = FunctionBuilderContext::new();
    for function in functions.by_start.values() {
        let isa = if function.leaders.len() <= MANY_BLOCKS {
            &isa
        } else if let Some(isa) = &quick {
            isa
        } else {
            quick.insert(target(Registers::InOnePass)?)
        };
        let compiled = compile_function(
            &**isa,
            &functions,
            function,
            &mut context,
            &mut builder_context,
        )?;
        linker.add(function.start, &compiled, &context.func.params)?;
        context.clear();
    }
    let stack_bytes = functions.deepest(linker.frames())?;
    let (code, entry) = linker.link()?;
    Ok(Native {
        code,
        entry,
        stack_bytes,
    })
}

fn compile_function(
    isa: &dyn isa::TargetIsa,
    functions: &Functions<'_>,
    function: &Function,
    context: &mut Context,
    builder_context: &mut FunctionBuilderContext,
) -> Result<CompiledCode, CompileError> {
    let signature = if function.start == 0 {
        lower::program_signature()
    } else {
        lower::call_signature()
    };
    context.func =
        ir::Function::with_name_signature(UserFuncName::user(0, function.start), signature);
    let builder = FunctionBuilder::new(&mut context.func, builder_context);
    lower::lower(functions, function, builder, isa.frontend_config())?;
    context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|error| CompileError::Cranelift {
            slot: function.start,
            message: error.inner.to_string(),
        })?;
    context
        .take_compiled_code()
        .ok_or_else(|| CompileError::Cranelift {
            slot: function.start,
            message: "no code came out".to_owned(),
        })
}

/// Functions with more blocks than this get registers in one pass: a search for the best takes time that grows
/// with the square of the blocks, 0.3 s for so many.
const MANY_BLOCKS: usize = 5000;

/// How Cranelift chooses registers.
#[derive(Clone, Copy)]
enum Registers {
    /// With a search.
    Searched,
    /// In one pass over the code, with more moves.
    InOnePass,
}

/// Baseline x86-64. None of the extensions is switched on, so that the code is the same on, and
/// runs on, every machine.
fn target(registers: Registers) -> Result<OwnedTargetIsa, CompileError> {
    let failed = |message: String| CompileError::Cranelift { slot: 0, message };
    let algorithm = match registers {
        Registers::Searched => "backtracking",
        Registers::InOnePass => "single_pass",
    };
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) {
        "true"
    } else {
        "false"
    };
    for (name, value) in [
        ("opt_level", "speed"),
        ("regalloc_algorithm", algorithm),
        ("is_pic", "true"),
        ("enable_probestack", "false"),
        ("enable_verifier", verifier),
        ("unwind_info", "false"),
    ] {
        flags
            .set(name, value)
            .map_err(|error| failed(error.to_string()))?;
    }
    isa::lookup_by_name("x86_64-unknown-linux-gnu")
        .map_err(|error| failed(error.to_string()))?
        .finish(settings::Flags::new(flags))
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
