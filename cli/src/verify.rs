//! `bpftime verify`: a verdict for each program of object files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bpftime_isa::ProgType;
use bpftime_loader::{Environment, UnverifiedProgram};
use bpftime_verifier::Options;

use crate::exit::Exit;
use crate::report::{self, FileReport, ProgramReport, Verdict};
use crate::source::{self, Selection};

/// Say for each program of object files whether it is safe, and if not, why.
///
/// A program is accepted if no run of it can access memory out of bounds, leak or misuse
/// resources, or fail to end, for any input. What cannot be proved is rejected, with the
/// instruction, the source line (compile with `clang -g`), what is needed and what is known.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// ELF objects as `clang -target bpf -O2 -g -c` makes them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON to stdout.
    #[arg(long)]
    json: bool,
    /// Print the log that the kernel's verifier would end with, too.
    #[arg(long)]
    log: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime verify build/*.bpf.o
  bpftime verify prog.bpf.o --program drop_packets --log
  bpftime verify filter.o --type socket-filter      a section name that tells no type
  bpftime verify --json *.o | jq '.files[].programs[] | select(.verdict != \"accepted\")'

Exit codes: 0 all accepted, 1 at least one rejected, 2 at least one unreadable file or no such
program, 3 internal error. The greatest that applies is given.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let environment = args.selection.environment()?;
    let reports: Vec<FileReport> = args
        .files
        .iter()
        .map(|path| judge_file(path, &environment, &args.selection))
        .collect();
    let exit = reports.iter().map(exit_of).max();
    if args.json {
        report::print_json(&reports)?;
    } else {
        report::to_stdout(|out| report::write_text(out, &reports, args.log))?;
    }
    Ok(exit.unwrap_or(Exit::Unreadable).into())
}

fn judge_file(path: &Path, environment: &Environment, selection: &Selection) -> FileReport {
    let file = path.display().to_string();
    let object = match source::read_object(path, environment) {
        Ok(object) => object,
        Err(error) => {
            return FileReport {
                file,
                error: Some(format!("{error:#}")),
                programs: Vec::new(),
            };
        }
    };
    let refused = object
        .refused()
        .iter()
        .filter(|program| selection.takes(&program.name, &program.section))
        .map(|program| ProgramReport {
            section: program.section.clone(),
            name: program.name.clone(),
            prog_type: ProgType::Unspec.name(),
            instructions: 0,
            verdict: Verdict::Unreadable(program.error.to_string()),
        });
    let mut programs: Vec<ProgramReport> = refused.collect();
    programs.extend(
        object
            .into_programs()
            .into_iter()
            .filter(|program| selection.takes(&program.name, &program.section))
            .map(|program| judge(program, selection)),
    );
    let error = programs.is_empty().then(|| {
        let wanted = selection.program.as_deref().unwrap_or_default();
        format!("{file} has no program `{wanted}`")
    });
    FileReport {
        file,
        error,
        programs,
    }
}

fn judge(program: UnverifiedProgram, selection: &Selection) -> ProgramReport {
    let mut program = program.into_program();
    program.prog_type = selection.type_or(program.prog_type);
    let mut report = ProgramReport {
        section: program.section.clone(),
        name: program.name.clone(),
        prog_type: program.prog_type.name(),
        instructions: program.insns.len(),
        verdict: Verdict::Unreadable(
            "the section's name tells no program type; give --type".to_owned(),
        ),
    };
    if program.prog_type != ProgType::Unspec {
        let options = Options::new(source::kernel_capabilities());
        report.verdict = match bpftime_verifier::verify(program, &options) {
            Ok(verified) => Verdict::Accepted(verified.facts().clone()),
            Err(rejection) => Verdict::Rejected(rejection),
        };
    }
    report
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
