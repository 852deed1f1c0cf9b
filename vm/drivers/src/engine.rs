//! The engines behind one trait.

use anyhow::{Context, Result, bail};
use bpftime_helpers::CAPABILITIES;
use bpftime_isa::Program;
use bpftime_verifier::{Options, VerifiedProgram, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, jit};

/// A way to run programs.
pub trait Engine {
    /// Name, by which a user chooses it.
    fn name(&self) -> &'static str;

    /// Makes a program ready to run on memory of a length in bytes: all that takes time once.
    ///
    /// # Errors
    ///
    /// The program is rejected, or the engine cannot do what it asks for.
    fn load(&self, program: Program, memory_len: usize) -> Result<Box<dyn Loaded>>;
}

/// A program that is ready to run.
pub trait Loaded {
    /// Sets the memory that the next runs find; must be called before the first.
    ///
    /// # Errors
    ///
    /// Memory of another length than the program was loaded for.
    fn set_memory(&mut self, memory: &[u8]) -> Result<()>;

    /// Runs it so many times, at least once, and gives the last result. What a run leaves in memory the
    /// next one finds.
    ///
    /// # Errors
    ///
    /// It was stopped.
    fn run(&mut self, times: u32) -> Result<u64>;
}

/// Our engines.
pub fn all() -> Vec<Box<dyn Engine>> {
    vec![Box::new(Interpreter), Box::new(Jit)]
}

/// One of our engines.
///
/// # Errors
///
/// There is none of this name.
pub fn by_name(name: &str) -> Result<Box<dyn Engine>> {
    let mut all = all();
    match all.iter().position(|engine| engine.name() == name) {
        Some(at) => Ok(all.swap_remove(at)),
        None => {
            let names: Vec<_> = all.iter().map(|engine| engine.name()).collect();
            bail!("there is no engine {name:?}, but {}", names.join(", "))
        }
    }
}

/// The interpreter.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter;

/// The compiler.
#[derive(Clone, Copy, Debug)]
pub struct Jit;

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn load(&self, program: Program, memory_len: usize) -> Result<Box<dyn Loaded>> {
        let verified = verified(program, memory_len)?;
        Ok(Box::new(Ready {
            code: Code::Verified(verified),
            place: None,
        }))
    }
}

impl Engine for Jit {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn load(&self, program: Program, memory_len: usize) -> Result<Box<dyn Loaded>> {
        let verified = verified(program, memory_len)?;
        let object = jit::compile(&verified).context("the program cannot be compiled")?;
        let executable = Executable::load(object).context("the code cannot be mapped")?;
        Ok(Box::new(Ready {
            code: Code::Compiled(verified, executable),
            place: None,
        }))
    }
}

fn verified(program: Program, memory_len: usize) -> Result<VerifiedProgram> {
    let options = Options {
        memory_len: Some(memory_len as u64),
        ..Options::new(CAPABILITIES)
    };
    verify(program, &options)
        .map_err(|rejection| anyhow::anyhow!("the program is rejected: {rejection}"))
}

enum Code {
    Verified(VerifiedProgram),
    Compiled(VerifiedProgram, Executable),
}

struct Ready {
    code: Code,
    place: Option<(HostEnvironment, Input)>,
}

impl Loaded for Ready {
    fn set_memory(&mut self, memory: &[u8]) -> Result<()> {
        let (Code::Verified(verified) | Code::Compiled(verified, _)) = &self.code;
        let program = verified.program();
        let environment = HostEnvironment::new(&program.maps)?;
        let input = Input::new(program.prog_type, program.attach_type, memory)?;
        self.place = Some((environment, input));
        Ok(())
    }

    fn run(&mut self, times: u32) -> Result<u64> {
        let (environment, input) = self.place.as_mut().context("no memory was set")?;
        let (result, _) = match &self.code {
            Code::Verified(verified) => environment.interpret_repeatedly(verified, input, times)?,
            Code::Compiled(_, executable) => {
                environment.run_repeatedly(executable, input, times)?
            }
        };
        Ok(result)
    }
}
