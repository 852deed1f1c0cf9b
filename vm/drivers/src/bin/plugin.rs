//! The plugin by which the runner of bpf_conformance drives the engines.
//!
//! The runner starts it for each test. It writes the program's bytes to standard input in hexadecimal
//! digits with blanks, gives the memory's in the first argument, if there is any, then its option
//! `--plugin_options`, and `--elf` where the bytes are those of an object file. It expects `r0` on standard
//! output in hexadecimal digits, or a message on standard error and an exit code other than 0.

use std::io::Read;

use anyhow::{Context, Result};
use bpftime_drivers::{engine, flat};
use bpftime_isa::{ProgType, Program};
use bpftime_loader::Object;
use clap::Parser;

/// Runs a program given on standard input, in hexadecimal digits, and prints r0 in such.
#[derive(Parser)]
#[command(name = "bpftime-conformance-plugin", version)]
struct Arguments {
    /// The memory that r1 points to, in hexadecimal digits; r2 is its length in bytes.
    #[arg(default_value = "")]
    memory: String,
    /// The program, in hexadecimal digits, instead of that on standard input.
    #[arg(long)]
    program: Option<String>,
    /// The bytes are those of an object file.
    #[arg(long)]
    elf: bool,
    /// Engine: interpreter or jit.
    #[arg(long, default_value = "jit")]
    engine: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let text = match arguments.program {
        Some(text) => text,
        None => {
            let mut text = String::new();
            let given = std::io::stdin().read_to_string(&mut text);
            given.context("the program cannot be read from standard input")?;
            text
        }
    };
    let bytes = flat::bytes_of_hex(&text).context("the program")?;
    let memory = flat::bytes_of_hex(&arguments.memory).context("the memory")?;
    let program = if arguments.elf {
        first(&bytes)?
    } else {
        flat::program("conformance", &bytes)?
    };
    let mut loaded = engine::by_name(&arguments.engine)?.load(program, memory.len())?;
    loaded.set_memory(&memory)?;
    println!("{:x}", loaded.run(1)?);
    Ok(())
}

/// The first program of an object file.
fn first(bytes: &[u8]) -> Result<Program> {
    let object = Object::parse(bytes)?;
    let mut program = object
        .programs()
        .next()
        .context("the object has no program")?
        .clone()
        .into_program();
    program.prog_type = ProgType::Memory;
    Ok(program)
}
