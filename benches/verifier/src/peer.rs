//! PREVAIL's crate, which is Rust too and runs in this process, with its default options.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use prevail::crab::ebpf_domain::DomainContext;
use prevail::crab::var_registry::VariableRegistry;
use prevail::elf_loader::ElfObject;
use prevail::fwd_analyzer::analyze;
use prevail::ir::program::Program;
use prevail::ir::unmarshal::unmarshal;
use prevail::linux::linux_platform::LinuxPlatform;
use prevail::linux::linux_platform::conformance_groups::DEFAULT_GROUPS;
use prevail::spec::config::{EbpfRuntimeConfig, EbpfVerifierOptions, VerbosityOptions};

use crate::corpus::Subject;
use crate::measure::measure;
use crate::report::Measured;

/// The defaults of its command line.
fn options() -> EbpfVerifierOptions {
    EbpfVerifierOptions {
        must_have_exit: true,
        mock_map_fds: true,
        runtime: EbpfRuntimeConfig {
            strict: false,
            allow_division_by_zero: true,
            setup_constraints: true,
            big_endian: false,
            check_for_termination: false,
            subprogram_stack_size: EbpfRuntimeConfig::DEFAULT_SUBPROGRAM_STACK_SIZE,
            max_call_stack_frames: EbpfRuntimeConfig::DEFAULT_MAX_CALL_STACK_FRAMES,
            max_packet_size: EbpfRuntimeConfig::DEFAULT_MAX_PACKET_SIZE,
        },
        verbosity_opts: VerbosityOptions {
            simplify: true,
            print_invariants: false,
            print_failures: false,
            print_line_info: false,
            dump_btf_types_json: false,
            collect_instruction_deps: false,
        },
    }
}

/// Whether the program passes: its graph is made and analysed. Reading the file is not measured.
fn passes(path: &Path, section: &str, function: &str, rounds: usize) -> Option<Measured> {
    let options = options();
    let mut platform = LinuxPlatform::new();
    platform.conformance_groups = DEFAULT_GROUPS;
    let mut object = ElfObject::new(path.to_str()?, options).ok()?;
    let mut programs = object.get_programs(section, function, &mut platform).ok()?;
    let [raw] = programs.as_mut_slice() else {
        return None;
    };
    platform.map_descriptors = raw.info.map_descriptors.clone();
    platform.set_program_type(&raw.info.program_type);
    let (accepted, micros, bytes) = measure(rounds, || {
        let mut notes = Vec::new();
        let Ok(sequence) = unmarshal(&raw.prog, &mut notes, &raw.info, &platform, &options) else {
            return false;
        };
        let mut info = raw.info.clone();
        let Ok(program) = Program::from_sequence(&sequence, &mut info, &platform, &options) else {
            return false;
        };
        let context = DomainContext {
            program_info: &info,
            program: &program,
            runtime: &options.runtime,
            options: &options,
            platform: &platform,
        };
        !analyze(&program, &context, &mut VariableRegistry::new()).failed
    });
    Some(Measured {
        accepted,
        micros,
        bytes: Some(bytes),
        states: None,
    })
}

/// Verdict, time and memory; none if it cannot read the program or panics.
pub(crate) fn judge(subject: &Subject, rounds: usize) -> Option<Measured> {
    let (section, function) = (&subject.program.section, &subject.program.name);
    let judged = catch_unwind(AssertUnwindSafe(|| {
        passes(&subject.path, section, function, rounds)
    }));
    judged.ok().flatten()
}
