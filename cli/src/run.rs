//! `bpftime run`: one program on given input, in this process.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{CtxFieldKind, ProgType, Program, context};
use bpftime_loader::Object;
use bpftime_verifier::{Options, VerifiedProgram};
use bpftime_vm::{Executable, HostEnvironment, Input, RunError, jit};
use clap::ValueEnum;

use crate::exit::{Exit, Internal, Unreadable};
use crate::run_report::{self, Outcome, RunReport};
use crate::source::{self, Selection};
use crate::{pcap, report};

/// Run one program of an object file on given input, in this process.
///
/// The program is verified first, and not run if it is rejected. Maps are empty (global data as
/// in the file) and keep their contents from run to run, as a packet or context does. What the
/// program prints goes to stderr.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// ELF object as `clang -target bpf -O2 -g -c` makes it.
    file: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Packets of a pcap or pcapng file, for programs that see packets; each is run on its own.
    #[arg(long, value_name = "PCAP", group = "input")]
    packet: Option<PathBuf>,
    /// Bytes of the context (`struct pt_regs` for a kprobe), from a file; the rest is zero.
    #[arg(long, value_name = "FILE", group = "input")]
    ctx: Option<PathBuf>,
    /// Bytes of memory in hexadecimal: its address goes into r1, its length into r2.
    #[arg(long, value_name = "HEX", group = "input")]
    mem: Option<String>,
    /// Runs on each input.
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroU32,
    /// What runs the program.
    #[arg(long, value_enum, default_value_t = Engine::Jit)]
    engine: Engine,
    /// Print JSON to stdout.
    #[arg(long)]
    json: bool,
}

/// What runs a program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Machine code.
    Jit,
    /// The interpreter.
    Interp,
    /// The interpreter that checks each access. It takes programs that are not verified, and
    /// stops them where they do what they may not.
    Checked,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime run drop.bpf.o --packet in.pcap --repeat 1000
  bpftime run probe.bpf.o --program count_malloc --ctx regs.bin --engine interp
  bpftime run sum.o --type memory --mem '01 02 03 04'
  bpftime run drop.bpf.o --packet in.pcap --json | jq '.runs[].return_value'

Exit codes: 0 run, 1 rejected or stopped, 2 unreadable input or no such program,
3 internal error.";

/// Instructions after which the checking interpreter stops a program.
const CHECKED_LIMIT: u64 = 100_000_000;

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (program, inputs) = prepare(args).map_err(Unreadable::mark)?;
    let mut environment = HostEnvironment::new(&program.maps)?;
    environment.set_trace_sink(|line| {
        let text = String::from_utf8_lossy(line);
        report::to_stderr(format_args!("trace: {}\n", text.escape_debug()));
    });
    let mut outcomes = Vec::with_capacity(inputs.len());
    let mut result = RunReport {
        section: program.section.clone(),
        name: program.name.clone(),
        prog_type: program.prog_type,
        engine: args
            .engine
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned()),
        repeat: args.repeat.get(),
        compile: None,
        outcomes: Vec::new(),
    };
    if args.engine == Engine::Checked {
        for bytes in &inputs {
            outcomes.push(measure(&program, bytes, |input| {
                repeat(args.repeat, || {
                    environment.run_checked(&program, input, CHECKED_LIMIT)
                })
            })?);
        }
    } else {
        let verified = match verify(program.clone(), &inputs) {
            Ok(verified) => verified,
            Err(rejection) => {
                report::print_rejection(&program, &rejection);
                return Ok(Exit::of_rejection(&rejection).into());
            }
        };
        let start = Instant::now();
        let executable = match args.engine {
            Engine::Jit => Some(compile(&verified)?),
            _ => None,
        };
        result.compile = executable.as_ref().map(|_| start.elapsed());
        for bytes in &inputs {
            outcomes.push(measure(&program, bytes, |input| match &executable {
                Some(code) => environment.run_repeatedly(code, input, args.repeat.get()),
                None => repeat(args.repeat, || environment.interpret(&verified, input)),
            })?);
        }
    }
    result.outcomes = outcomes;
    if args.json {
        run_report::print_json(&result)?;
    } else {
        report::to_stdout(|out| run_report::write_text(out, &result))?;
    }
    Ok(Exit::Accepted.into())
}

/// Reads the program and what it is to be run on.
fn prepare(args: &Args) -> anyhow::Result<(Program, Vec<Vec<u8>>)> {
    let object = source::read_object(&args.file, &args.selection.environment()?)?;
    let mut program = choose(object, args)?;
    program.prog_type = args.selection.type_or(program.prog_type);
    if program.prog_type == ProgType::Unspec && args.mem.is_some() {
        program.prog_type = ProgType::Memory;
    }
    let inputs = inputs(args, &program)?;
    Ok((program, inputs))
}

fn choose(object: Object, args: &Args) -> anyhow::Result<Program> {
    let takes = |name: &str, section: &str| args.selection.takes(name, section);
    for refused in object.refused() {
        if args.selection.program.is_some() && takes(&refused.name, &refused.section) {
            bail!("cannot link {}: {}", refused.name, refused.error);
        }
    }
    let mut programs = object.into_programs();
    let names = |programs: &[bpftime_loader::UnverifiedProgram]| {
        let names = programs
            .iter()
            .map(|p| format!("{} ({})", p.name, p.section));
        names.collect::<Vec<_>>().join(", ")
    };
    let all = names(&programs);
    programs.retain(|program| takes(&program.name, &program.section));
    if programs.len() > 1 {
        bail!(
            "which program? give --program; there are {}",
            names(&programs)
        );
    }
    let program = programs.pop();
    let program = program.ok_or_else(|| anyhow!("no such program; there are {all}"))?;
    Ok(program.into_program())
}

/// The inputs that the command line gives; one empty one if it gives none.
fn inputs(args: &Args, program: &Program) -> anyhow::Result<Vec<Vec<u8>>> {
    let name = program.prog_type.name();
    if program.prog_type == ProgType::Unspec {
        bail!(
            "section `{}` tells no program type; give --type",
            program.section
        );
    }
    let layout = context::layout(program.prog_type, program.attach_type)
        .ok_or_else(|| anyhow!("programs of type {name} cannot be run on given input"))?;
    let packet = layout
        .fields
        .iter()
        .any(|field| field.kind == CtxFieldKind::PacketStart);
    if let Some(path) = &args.packet {
        if !packet {
            bail!("programs of type {name} see no packet; give --ctx or --mem");
        }
        return pcap::read(path);
    }
    if let Some(path) = &args.ctx {
        if packet || layout.plain_memory {
            bail!("the context of type {name} is made from --packet or --mem");
        }
        let limit = u64::from(layout.size);
        let context = || format!("cannot read {}", path.display());
        let len = std::fs::metadata(path).with_context(context)?.len();
        if len > limit {
            bail!(
                "{} has {len} bytes, {} {limit}",
                path.display(),
                layout.name
            );
        }
        return Ok(vec![std::fs::read(path).with_context(context)?]);
    }
    if let Some(hex) = &args.mem {
        if !layout.plain_memory {
            bail!("programs of type {name} take no plain memory; give --packet or --ctx");
        }
        return Ok(vec![parse_hex(hex)?]);
    }
    Ok(vec![Vec::new()])
}

fn parse_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<u8> = text
        .trim_start_matches("0x")
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .ok_or_else(|| anyhow!("--mem: `{}` is not hexadecimal", char::from(byte)))
    };
    digits
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Ok((digit(high)? << 4 | digit(low)?) as u8),
            _ => bail!("--mem: an odd number of digits"),
        })
        .collect()
}

fn verify(
    program: Program,
    inputs: &[Vec<u8>],
) -> Result<VerifiedProgram, Box<bpftime_verifier::Rejection>> {
    let mut options = Options::new(CAPABILITIES);
    options.record_operands = true;
    if program.prog_type == ProgType::Memory {
        options.memory_len = inputs.first().map(|bytes| bytes.len() as u64);
    }
    bpftime_verifier::verify(program, &options)
}

fn compile(verified: &VerifiedProgram) -> anyhow::Result<Executable> {
    let code = jit::compile(verified)
        .context("the JIT failed on an accepted program; --engine interp may run it")
        .map_err(Internal::mark)?;
    Executable::load(code)
        .context("cannot map machine code")
        .map_err(Internal::mark)
}

/// Runs the program on one input.
fn measure(
    program: &Program,
    bytes: &[u8],
    run: impl FnOnce(&mut Input) -> Result<(u64, Duration), RunError>,
) -> anyhow::Result<Outcome> {
    let mut input = Input::new(program.prog_type, program.attach_type, bytes)?;
    let (value, time) = run(&mut input)?;
    Ok(Outcome {
        bytes: bytes.len(),
        value,
        changed: input.bytes().get(..bytes.len()) != Some(bytes),
        time,
    })
}

/// Gives the value of the last run, and the time of all.
fn repeat(
    times: NonZeroU32,
    mut run: impl FnMut() -> Result<u64, RunError>,
) -> Result<(u64, Duration), RunError> {
    let start = Instant::now();
    let mut value = run()?;
    for _ in 1..times.get() {
        value = run()?;
    }
    Ok((value, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::parse_hex;

    #[test]
    fn hexadecimal_is_read() {
        assert_eq!(parse_hex("0x01 fF\n00").unwrap(), [1, 255, 0]);
        assert!(parse_hex("").unwrap().is_empty());
        assert!(parse_hex("0").is_err());
        assert!(parse_hex("0g").is_err());
        assert!(parse_hex("é").is_err());
    }
}
