//! `bpftime verify`: a verdict for each program of object files.

mod judge;
mod refine;
mod table;
mod vectors;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bpftime_loader::TargetTypes;
use bpftime_verifier::Options;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::Exit;
use crate::report::{self, FileReport, ProgramReport, TypeFrom, Verdict};
use crate::source::Selection;

/// Say for each program of object files whether it is safe, and if not, why.
///
/// A program is accepted if no run of it can access memory out of bounds, leak or misuse
/// resources, or fail to end, for any input. What cannot be proved is rejected, with the
/// instruction, the source line (compile with `clang -g`), what is needed and what is known.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// ELF objects as `clang -target bpf -O2 -g -c` makes them, and folders: all objects below,
    /// in order. In folders, a type that a section's name does not tell is guessed from names.
    #[arg(required_unless_present = "vectors", value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Judge raw instructions: tests of the kernel's verifier as JSON (meta.maps and tests, each
    /// with name, prog_type, insns in hexadecimal, fixups, result or actual_6_18.verdict). One
    /// JSON object per test is printed, and a summary to stderr.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["files", "program", "prog_type", "log"])]
    vectors: Vec<PathBuf>,
    /// Whose rules apply: which helpers and map types there are.
    #[arg(long, value_enum, default_value_t = Target::Linux, value_name = "TARGET")]
    target: Target,
    /// How verdicts are printed [default: text, for vectors jsonl].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print the log that the kernel's verifier would end with, too.
    #[arg(long)]
    log: bool,
    /// Print for each instruction what the registers that it reads are known to hold, and with json
    /// what is returned. Of programs with more than 65536 instructions nothing is.
    #[arg(long)]
    facts: bool,
    /// Ask z3 where a check fails: what it proves is assumed, and what it refutes has an example. The
    /// verdict says so. Needs a bpftime that was built with the feature `smt`.
    #[arg(long)]
    smt: bool,
}

/// Whose rules apply.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Linux 6.18: its helpers by program type and its map types, for privileged programs.
    #[value(name = "linux-6.18")]
    Linux,
    /// The helpers and map types that bpftime runs in processes.
    Bpftime,
}

impl Target {
    fn options(self) -> Options {
        match self {
            Self::Linux => Options::linux(),
            Self::Bpftime => Options::new(bpftime_helpers::CAPABILITIES),
        }
    }
}

/// How verdicts are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, with reasons.
    Text,
    /// For people, a line for each program.
    Table,
    /// The columns of veristat, and some more.
    Csv,
    /// One document.
    Json,
    /// One object per program on a line of its own.
    Jsonl,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime verify build/*.bpf.o
  bpftime verify prog.bpf.o --program drop_packets --log
  bpftime verify --facts prog.bpf.o                 what is known at each instruction
  bpftime verify filter.o --type socket-filter      a section name that tells no type
  bpftime verify --json *.o | jq '.files[].programs[] | select(.verdict != \"accepted\")'
  bpftime verify build/ --format csv > verdicts.csv every object below, as veristat has it
  bpftime verify --vectors verifier-6.12.json       the kernel's own tests

Columns of csv: veristat's (verdict is success or failure, duration in microseconds, total_insns
are the abstract steps, mem_peak in MiB; what is not measured is empty), then section, type_from
(section, argument or guess), code, slot, insns_reached and mem_peak_bytes. A file that cannot be
read has a row with the code unreadable and no program.

Exit codes: 0 all accepted, 1 at least one rejected, 2 at least one unreadable file or no such
program, 3 internal error. The greatest that applies is given.
With --vectors: 0 all verdicts as expected, 1 at least one differs (unsupported counts as not
accepted), 2 the file cannot be read, 3 internal error. Expected is what Linux 6.18 did
(actual_6_18) where the file tells, else the test's own result.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut options = args.target.options();
    let format = match args.format {
        _ if args.json => Format::Json,
        Some(format) => format,
        None if args.vectors.is_empty() => Format::Text,
        None => Format::Jsonl,
    };
    options.record_operands = args.facts;
    let environment = args.selection.environment()?;
    let types = TargetTypes(environment.clone());
    if args.target == Target::Linux {
        options.kernel_types = Some(Arc::new(types.clone()));
        options.cpus = args.selection.cpus;
    }
    let judge = refine::Judge::new(&options, args.smt)?;
    if !args.vectors.is_empty() {
        if format != Format::Jsonl {
            anyhow::bail!("vectors are judged with --format jsonl only");
        }
        return Ok(vectors::run(&args.vectors, &types, &judge)?.into());
    }
    let found = walk::files(&args.files);
    let progress = progress(found.len() as u64);
    let mut reports: Vec<FileReport> = Vec::with_capacity(found.len());
    for found in &found {
        progress.set_message(found.path.display().to_string());
        reports.push(judge::file(found, &environment, &args.selection, &judge));
        progress.inc(1);
    }
    progress.finish_and_clear();
    match format {
        Format::Text => report::to_stdout(|out| report::write_text(out, &reports, args.log))?,
        Format::Table => report::to_stdout(|out| table::write_table(out, &reports))?,
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            table::write_csv(&mut writer, &reports)?;
            let bytes = writer.into_inner()?;
            report::to_stdout(|out| std::io::Write::write_all(out, &bytes))?;
        }
        Format::Json => report::print_json(&reports)?,
        Format::Jsonl => report::print_json_lines(&reports)?,
    }
    if matches!(format, Format::Table | Format::Csv | Format::Jsonl) {
        print_errors(&reports, format);
        print_summary(&reports);
    }
    Ok(exit_of_all(&reports).into())
}

/// A bar on stderr, if that is a terminal and there is something to wait for.
fn progress(files: u64) -> ProgressBar {
    if files < 2 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Prints why files could not be read where the rows have no place for it.
fn print_errors(reports: &[FileReport], format: Format) {
    if format == Format::Table {
        return;
    }
    for file in reports {
        if let Some(error) = &file.error {
            let (bad, reset) = (report::BAD, report::RESET);
            report::to_stderr(format_args!("{bad}error:{reset} {error}\n"));
        }
    }
}

fn print_summary(reports: &[FileReport]) {
    let programs = || reports.iter().flat_map(|file| &file.programs);
    let count = |test: fn(&ProgramReport) -> bool| programs().filter(|it| test(it)).count();
    let time: Duration = programs().map(|program| program.measured.time).sum();
    let most = programs().map(|program| program.measured.time).max();
    let memory = programs().map(|program| program.measured.memory).max();
    report::to_stderr(format_args!(
        "{} programs of {} files: {} accepted, {} rejected, {} without a verdict; {} files \
         unreadable; {} types guessed; {:.3} s in all, {:.3} s and {} KiB at most\n",
        programs().count(),
        reports.len(),
        count(|it| matches!(it.verdict, Verdict::Accepted(_))),
        count(|it| matches!(it.verdict, Verdict::Rejected(_))),
        count(|it| matches!(it.verdict, Verdict::Unreadable(_))),
        reports.iter().filter(|file| file.error.is_some()).count(),
        count(|it| it.type_from == TypeFrom::Guess),
        time.as_secs_f64(),
        most.unwrap_or_default().as_secs_f64(),
        memory.unwrap_or_default().div_ceil(1024)
    ));
}

/// The greatest code that applies; nothing judged at all is unreadable.
fn exit_of_all(reports: &[FileReport]) -> Exit {
    let codes = reports.iter().map(exit_of);
    codes.max().unwrap_or(Exit::Unreadable)
}

fn exit_of(file: &FileReport) -> Exit {
    let of_program = |program: &ProgramReport| match &program.verdict {
        Verdict::Accepted(_) => Exit::Accepted,
        Verdict::Rejected(rejection) => Exit::of_rejection(rejection),
        Verdict::Unreadable(_) => Exit::Unreadable,
    };
    let of_file = file.error.as_ref().map(|_| Exit::Unreadable);
    let programs = file.programs.iter().map(of_program);
    programs.chain(of_file).max().unwrap_or(Exit::Accepted)
}
