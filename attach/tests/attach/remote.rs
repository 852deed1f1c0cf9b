//! System calls inside a process leave it exactly as it was, whoever dies when.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::support::{Link, Victim};
use bpftime_attach::target::{At, Protection};
use bpftime_attach::{Error, Target};
use rand::Rng;

const EVERYTHING: [&str; 11] = [
    "spin",
    "nanosleep",
    "poll",
    "futex",
    "read",
    "write",
    "sigsuspend",
    "threads",
    "nanosleep",
    "spin",
    "tick",
];

/// One session of everything that is done in a process; returns the number of system calls.
fn visit(target: &Target, file: &std::fs::File) -> Result<u32, Error> {
    let mut stopped = target.stop()?;
    let pid = stopped.syscall("getpid", libc::SYS_getpid, [0; 6])?;
    assert_eq!(pid, target.pid() as u64);
    let at = stopped.map_anonymous(At::Anywhere, 8192, Protection::ReadWrite)?;
    stopped.write(at, b"hello")?;
    let mut back = [0; 5];
    stopped.read(at, &mut back)?;
    assert_eq!(&back, b"hello");
    let mapped = stopped.map_fd(
        file.as_fd(),
        At::Anywhere,
        4096,
        Protection::ReadExecute,
        false,
    )?;
    let mut word = [0; 8];
    stopped.read(mapped, &mut word)?;
    assert_eq!(&word, b"contents");
    stopped.poke(mapped + 1, b"ONTENT")?;
    stopped.read(mapped, &mut word)?;
    assert_eq!(&word, b"cONTENTs");
    stopped.unmap(mapped, 4096)?;
    stopped.unmap(at, 8192)?;
    Ok(12)
}

fn contents() -> std::fs::File {
    use std::io::Write;
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(b"contents").expect("written");
    file
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("fd list")
        .count()
}

fn check(link: Link, modes: &[&str]) {
    let Some(path) = crate::support::compile("busy", link, &[]) else {
        return;
    };
    let mut args = vec!["2500"];
    args.extend(modes);
    let victim = Victim::start(&path, &args);
    let target = Target::open(victim.pid()).expect("target");
    let file = contents();
    let before = (
        descriptors(victim.pid()),
        target.maps().expect("maps").iter().count(),
    );
    let end = Instant::now() + Duration::from_millis(1000);
    let mut calls = 0;
    let mut visits = 0;
    while Instant::now() < end {
        calls += visit(&target, &file).expect("visit");
        visits += 1;
        std::thread::sleep(Duration::from_micros(200));
    }
    println!("{link:?} {modes:?}: {visits} visits, {calls} system calls");
    assert!(calls > 100, "only {calls} system calls");
    if modes.len() == 1 {
        assert_eq!(
            before,
            (
                descriptors(victim.pid()),
                target.maps().expect("maps").iter().count()
            )
        );
    }
    victim.must_be_right();
}

#[test]
fn one_thread_that_computes() {
    crate::support::also_as_nobody("remote::one_thread_that_computes");
    check(Link::Dynamic, &["spin"]);
}

#[test]
fn blocked_threads_wait_on() {
    crate::support::also_as_nobody("remote::blocked_threads_wait_on");
    for mode in [
        "nanosleep",
        "poll",
        "futex",
        "sigsuspend",
        "epoll",
        "recv",
        "interrupted",
    ] {
        check(Link::Dynamic, &[mode]);
    }
    check(Link::Dynamic, &["write", "read"]);
}

#[test]
fn signals_arrive() {
    check(Link::Dynamic, &["tick"]);
}

#[test]
fn everything_at_once() {
    crate::support::also_as_nobody("remote::everything_at_once");
    check(Link::Dynamic, &EVERYTHING);
}

#[test]
fn static_and_musl() {
    check(Link::Static, &EVERYTHING);
    check(Link::Musl, &EVERYTHING);
}

/// Not a test by itself: the tracer that other tests kill.
#[test]
fn role_of_a_tracer() {
    let Ok(pid) = std::env::var("BPFTIME_TEST_TRACE") else {
        return;
    };
    let Ok(target) = Target::open(pid.parse().unwrap()) else {
        return;
    };
    let file = contents();
    println!("tracing");
    loop {
        match visit(&target, &file) {
            Ok(_) => {}
            Err(error) if error.is_gone() => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn tracer_may_be_killed_at_any_moment() {
    crate::support::also_as_nobody("remote::tracer_may_be_killed_at_any_moment");
    let rounds = crate::support::iterations(50, 1000);
    for (link, modes) in [
        (Link::Dynamic, &EVERYTHING[..]),
        (Link::Dynamic, &["nanosleep"]),
        (Link::Musl, &["spin"]),
    ] {
        let Some(path) = crate::support::compile("busy", link, &[]) else {
            return;
        };
        let mut args = vec!["0"];
        args.extend(modes);
        let mut victim = Victim::start(&path, &args);
        for round in 0..rounds {
            let mut tracer = crate::support::rerun("remote::role_of_a_tracer");
            let mut tracer = tracer
                .env("BPFTIME_TEST_TRACE", victim.pid().to_string())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("tracer");
            let mut output = std::io::BufReader::new(tracer.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("tracing") {
                line.clear();
                if std::io::BufRead::read_line(&mut output, &mut line).expect("output") == 0 {
                    break;
                }
            }
            std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..4000)));
            // Killed, not ended by itself: else it saw something wrong.
            let ended = tracer.try_wait().expect("tracer");
            tracer.kill().expect("killed");
            tracer.wait().expect("tracer");
            assert!(!victim.ended(), "the victim ended in round {round}");
            assert!(ended.is_none(), "the tracer failed in round {round}");
        }
        victim.end();
    }
}

/// The end of a process's leader is told only when the ends of all other threads have been
/// collected, which is the tracer's part: one that waits for the leader alone waits for ever.
#[test]
fn target_may_be_killed_at_any_moment() {
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    for round in 0..crate::support::iterations(40, 1000) {
        let victim = Victim::start(&path, &["0", "spin", "nanosleep", "futex"]);
        let target = Target::open(victim.pid()).expect("target");
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let file = contents();
            let error = loop {
                if let Err(error) = visit(&target, &file) {
                    break error;
                }
            };
            // Whatever the call in progress met, the next visit finds nobody.
            let _ = told.send((error, target.stop().err()));
        });
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..4000)));
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(victim.pid()),
            nix::sys::signal::SIGKILL,
        )
        .expect("victim is there");
        let (error, next) = heard
            .recv_timeout(Duration::from_secs(10))
            .unwrap_or_else(|_| panic!("round {round}: the tracer waits for a dead process"));
        assert!(
            matches!(next, Some(Error::Gone { .. })),
            "round {round}: {error}, then {next:?}"
        );
    }
}

#[test]
fn refusals_are_clear() {
    let gone = Target::open(i32::MAX).unwrap_err();
    assert!(matches!(gone, Error::Gone { .. }), "{gone}");
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    let victim = Victim::start(&path, &["3000", "spin", "spin"]);
    let tid = loop {
        let tasks = bpftime_attach::process::tasks(victim.pid()).expect("tasks");
        if let Some(tid) = tasks.into_iter().find(|tid| *tid != victim.pid()) {
            break tid;
        }
    };
    let error = Target::open(tid).unwrap_err();
    assert!(
        matches!(error, Error::NotALeader { leader, .. } if leader == victim.pid()),
        "{error}"
    );

    let target = Target::open(victim.pid()).expect("target");
    let held = target.stop().expect("stopped");
    let pid = victim.pid();
    let second = std::thread::spawn(move || Target::open(pid).unwrap().stop().map(drop));
    let error = second.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::AlreadyTraced { .. }), "{error}");
    drop(held);

    if crate::support::also_as_nobody("remote::refusals_are_clear") {
        let error = Target::open(1)
            .and_then(|t| t.stop().map(drop))
            .unwrap_err();
        assert!(matches!(error, Error::NotPermitted { .. }), "{error}");
        assert!(error.to_string().contains("uid 0"), "{error}");
    }
    victim.must_be_right();
}
