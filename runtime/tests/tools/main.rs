//! Unmodified tools under the broker, as an ordinary user.
//!
//! A harness of its own: the broker and the guardians are this program, started again by itself, so
//! that the tests need no other binary.
#![expect(
    clippy::print_stdout,
    reason = "it answers what the tests ask of a broker"
)]

mod agreement;
mod broker;
mod changes;
mod crowds;
mod events;
mod hostile;
mod lifetime;
mod stage;
mod trace_pipe;

use std::ffi::OsString;
use std::process::ExitCode;

use bpftime_runtime::broker::protocol::Status;
use bpftime_runtime::client::{Failure, ask, child, detach, load, socket, start};
use libtest_mimic::{Arguments, Trial};

/// Why a test had nothing to test.
pub(crate) struct Skipped(pub(crate) String);

type Test = fn() -> Result<(), Skipped>;

const TESTS: &[(&str, Test)] = &[
    (
        "calls_agree_with_the_kernel",
        agreement::calls_agree_with_the_kernel,
    ),
    (
        "a_started_shell_tells_that_its_commands_are_not_followed",
        changes::a_started_shell_tells_that_its_commands_are_not_followed,
    ),
    (
        "a_process_without_its_first_thread_is_alive",
        changes::a_process_without_its_first_thread_is_alive,
    ),
    (
        "a_process_has_one_guardian_of_all_brokers",
        changes::a_process_has_one_guardian_of_all_brokers,
    ),
    (
        "a_reloaded_library_is_probed_again",
        changes::a_reloaded_library_is_probed_again,
    ),
    (
        "clients_meet_a_broker_that_ends",
        broker::clients_meet_a_broker_that_ends,
    ),
    (
        "bad_clients_end_their_connection_only",
        broker::bad_clients_end_their_connection_only,
    ),
    (
        "a_broker_out_of_descriptors_recovers",
        broker::a_broker_out_of_descriptors_recovers,
    ),
    (
        "what_was_open_is_not_kept_open",
        broker::what_was_open_is_not_kept_open,
    ),
    ("odd_places_are_places", broker::odd_places_are_places),
    (
        "a_signal_for_load_is_the_tools",
        broker::a_signal_for_load_is_the_tools,
    ),
    ("one_of_many_attaches", crowds::one_of_many_attaches),
    ("one_of_many_detaches", crowds::one_of_many_detaches),
    (
        "a_hung_guardian_stalls_nobody_else",
        crowds::a_hung_guardian_stalls_nobody_else,
    ),
    (
        "changing_probes_do_not_keep_processes_from_starting",
        crowds::changing_probes_do_not_keep_processes_from_starting,
    ),
    (
        "a_killed_guardian_does_not_keep_a_process_from_starting",
        crowds::a_killed_guardian_does_not_keep_a_process_from_starting,
    ),
    (
        "an_unread_standard_error_stalls_nobody",
        crowds::an_unread_standard_error_stalls_nobody,
    ),
    (
        "programs_hear_of_every_call",
        events::programs_hear_of_every_call,
    ),
    (
        "the_broker_survives_random_calls",
        hostile::the_broker_survives_random_calls,
    ),
    (
        "answers_reach_who_has_asked",
        lifetime::answers_reach_who_has_asked,
    ),
    (
        "long_values_take_no_memory_of_the_broker",
        lifetime::long_values_take_no_memory_of_the_broker,
    ),
    (
        "bpftool_sees_the_objects",
        lifetime::bpftool_sees_the_objects,
    ),
    (
        "objects_end_with_their_tool",
        lifetime::objects_end_with_their_tool,
    ),
    (
        "a_tool_gives_its_own_exit_code",
        lifetime::a_tool_gives_its_own_exit_code,
    ),
    (
        "trace_pipe_shows_every_line",
        trace_pipe::trace_pipe_shows_every_line,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match words.first().map(String::as_str) {
        Some("broker") => told(socket::run_broker(broker::idle())),
        Some("clients") => broker::clients(),
        Some("guardian") => told(bpftime_runtime::guardian::run()),
        Some("load") => match load::load(&arguments[1..]) {
            Ok(status) => child::exit_code(status).into(),
            Err(failure) => told(Err(failure)),
        },
        Some("start") => match start::start(&arguments[1..], |why| eprintln!("{why}")) {
            Ok(status) => child::exit_code(status).into(),
            Err(failure) => told(Err(failure)),
        },
        Some("attach") => told(ask::attach(words[1].parse().expect("a pid")).map(drop)),
        Some("detach") => told(detach::detach(words[1].parse().expect("a pid"))),
        Some("crowd") => crowds::crowd(&words[1], words[2].parse().expect("a pid")),
        Some("broker-pid") => {
            told(ask::status().map(|status| println!("{}", status.map_or(0, |s| s.broker_pid))))
        }
        Some("attached") => {
            let pid = words[1].parse().expect("a pid");
            told(ask::status().map(|status| println!("{}", attached(status, pid))))
        }
        Some("maps") => told(ask::maps().map(|maps| println!("{}", maps.len()))),
        _ => run_tests(),
    }
}

/// How many programs run in a process, and whether its guardian answers.
fn attached(status: Option<Status>, pid: i32) -> String {
    let targets = status.map(|status| status.targets).unwrap_or_default();
    let Some(target) = targets.iter().find(|target| target.pid == pid) else {
        return "no target".to_owned();
    };
    let count = target.hooks.iter().filter(|hook| hook.attached).count();
    let problem = target.problem.as_ref().map_or("", |_| ", has a problem");
    let failures = target.hooks.iter().filter_map(|hook| hook.failure.as_ref());
    let failures: String = failures.map(|why| format!(", {why}")).collect();
    format!("{count} attached{problem}{failures}")
}

fn told(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_tests() -> ExitCode {
    let trials = TESTS
        .iter()
        .map(|(name, test)| {
            Trial::test(*name, move || {
                if let Err(Skipped(why)) = test() {
                    eprintln!("skipped: {why}");
                }
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
