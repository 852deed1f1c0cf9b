//! Stopped, forked, confined and other unusual processes.

use std::mem::offset_of;
use std::time::{Duration, Instant};

use bpftime_abi::target::{CONFIG_NO_SYSTEM_CALLS, Config, State};
use bpftime_attach::inject::{Image, InjectOptions, Injection, Module, When};
use bpftime_attach::process::Task;
use bpftime_attach::target::{At, Options, Protection};
use bpftime_attach::{Error, Target, detach};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hooking::{Counters, Hooking};
use crate::support::{self, Link, Victim};

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("victim is there");
}

fn state(pid: i32) -> char {
    Task::read(pid).expect("victim is there").state
}

fn wait_for_state(pid: i32, wanted: char) {
    let end = Instant::now() + Duration::from_secs(5);
    while state(pid) != wanted {
        assert!(
            Instant::now() < end,
            "state {} instead of {wanted}",
            state(pid)
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stopped_process_stays_stopped() {
    let Some(path) = support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    for modes in [
        &["0", "spin"][..],
        &["0", "spin", "read", "write", "spin", "nanosleep"],
    ] {
        let victim = Victim::start(&path, modes);
        let target = Target::open(victim.pid()).expect("target");
        for _ in 0..20 {
            send(victim.pid(), Signal::SIGSTOP);
            wait_for_state(victim.pid(), 'T');
            let mut stopped = target.stop().expect("stopped");
            let at = stopped
                .map_anonymous(At::Anywhere, 4096, Protection::Read)
                .expect("mapped");
            stopped.unmap(at, 4096).expect("unmapped");
            drop(stopped);
            wait_for_state(victim.pid(), 'T');
            send(victim.pid(), Signal::SIGCONT);
            wait_for_running(victim.pid());
        }
        // Stops and continues at any moment.
        let pid = victim.pid();
        let signals = std::thread::spawn(move || {
            for _ in 0..300 {
                send(pid, Signal::SIGSTOP);
                std::thread::sleep(Duration::from_micros(300));
                send(pid, Signal::SIGCONT);
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        while !signals.is_finished() {
            let mut stopped = target.stop().expect("stopped");
            stopped
                .syscall("getpid", libc::SYS_getpid, [0; 6])
                .expect("call");
        }
        signals.join().expect("signals sent");
        // A stop that was held back for the time of a call may come after the last continue.
        std::thread::sleep(Duration::from_millis(20));
        send(pid, Signal::SIGCONT);
        victim.end();
    }
}

fn wait_for_running(pid: i32) {
    let end = Instant::now() + Duration::from_secs(5);
    while state(pid) == 'T' {
        assert!(Instant::now() < end, "still stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn confined_processes_are_refused_unharmed() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("confined", Link::Dynamic, &[]) else {
        return;
    };
    let inject = |target: &Target| {
        let options = InjectOptions {
            image: &image,
            target_id: 1,
            leases: None,
        };
        let mut stopped = target.stop()?;
        Injection::attach(&mut stopped, &options).map(drop)
    };
    for mode in ["strict", "filter"] {
        let mut victim = Victim::start(&path, &[mode]);
        let target = Target::open(victim.pid()).expect("target");
        let error = inject(&target).expect_err(mode);
        assert!(matches!(error, Error::Seccomp { .. }), "{error}");
        victim.order("still there");
        let mut stopped = target.stop().expect("stopped");
        let error = stopped
            .syscall("getpid", libc::SYS_getpid, [0; 6])
            .expect_err(mode);
        assert!(matches!(error, Error::Seccomp { .. }), "{error}");
        drop(stopped);
        victim.order("still there");
        if mode == "filter" {
            let options = Options {
                trust_seccomp_filter: true,
                ..Options::default()
            };
            let target = Target::open_with(victim.pid(), options).expect("target");
            inject(&target).expect("attached");
            victim.order("still there");
            assert!(detach(&target).expect("detached").was_attached);
        }
        victim.must_be_right();
    }
}

#[test]
fn a_process_may_confine_itself_later() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("confined", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut victim = Victim::start(&path, &["later"]);
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    hooking
        .link(&mut stopped, &module, "probed", When::Entry, &counters)
        .expect("linked");
    drop(stopped);
    let config = hooking.injection.state_address() + offset_of!(State, config) as u64;
    let flags = || {
        let mut flags = [0; 4];
        target
            .read(config + offset_of!(Config, flags) as u64, &mut flags)
            .expect("read");
        u32::from_le_bytes(flags) & CONFIG_NO_SYSTEM_CALLS
    };
    assert_eq!(flags(), 0);
    victim.order("confine yourself");
    assert_eq!(counters.calls(), 1);
    hooking.injection.notice_seccomp(&target).expect("looked");
    assert_eq!(flags(), CONFIG_NO_SYSTEM_CALLS);

    // Its own code is put back, although no system call can be made inside.
    let done = detach(&target).expect("detached");
    assert!(done.restored == 1 && done.confined, "{done:?}");
    victim.order("still there");
    assert_eq!(counters.calls(), 1);
    let done = detach(&target).expect("detached again");
    assert!(done.restored == 0 && done.confined, "{done:?}");
    victim.must_be_right();
}

#[test]
fn forked_children_can_be_cleaned_up() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    let link = hooking
        .link(&mut stopped, &module, "probed", When::Return, &counters)
        .expect("linked");
    drop(stopped);
    victim.order("call 10");
    victim.order("spawn");
    let children = format!("/proc/{0}/task/{0}/children", victim.pid());
    let child: i32 = std::fs::read_to_string(children)
        .expect("children")
        .trim()
        .parse()
        .expect("one child");

    // A program that is unlinked stops in the child too; its patch stays until somebody detaches.
    let mut stopped = target.stop().expect("stopped");
    hooking
        .injection
        .unlink(&mut stopped, link)
        .expect("unlinked");
    drop(stopped);
    std::thread::sleep(Duration::from_millis(50));
    let then = counters.calls();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(counters.calls(), then);
    assert!(!detach(&target).expect("detached").code_left);
    victim.order("call 10");

    let child = Target::open(child).expect("child");
    let mut done = detach(&child).expect("detached");
    assert_eq!(done.restored, 1, "{done:?}");
    for _ in 0..20 {
        if !done.code_left {
            break;
        }
        done = detach(&child).expect("detached");
    }
    assert!(!done.code_left && done.foreign.is_empty(), "{done:?}");
    let maps = child.maps().expect("maps");
    assert!(maps.iter().all(|m| m.memfd_name().is_none()));
    victim.order("reap");
    victim.must_be_right();
}

#[test]
fn children_run_no_programs_after_a_detach() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    hooking
        .link(&mut stopped, &module, "probed", When::Return, &counters)
        .expect("linked");
    drop(stopped);
    victim.order("spawn");
    std::thread::sleep(Duration::from_millis(20));
    assert!(counters.calls() > 0);
    detach(&target).expect("detached");
    std::thread::sleep(Duration::from_millis(20));
    let then = counters.calls();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(counters.calls(), then);
    victim.order("call 10");
    victim.order("reap");
    victim.must_be_right();
}

/// What `/proc/PID` and calls by process id say of the memory of a process is about its first thread,
/// which may have ended.
#[test]
fn the_first_thread_may_have_ended() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut victim = Victim::start(&path, &["leaderless"]);
    wait_for_state(victim.pid(), 'Z');
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = match Hooking::attach(&mut stopped, &image) {
        Err(
            error @ Error::Os {
                what: "pidfd_getfd",
                ..
            },
        ) => {
            println!("skipped: {error}: Linux 6.9 is needed");
            return;
        }
        other => other.expect("attached"),
    };
    hooking
        .link(&mut stopped, &module, "probed", When::Return, &counters)
        .expect("linked");
    drop(stopped);
    victim.order("call 10");
    assert_eq!(counters.calls(), 10);
    let done = detach(&target).expect("detached");
    assert_eq!(done.restored, 1, "{done:?}");
    victim.order("call 10");
    assert_eq!(counters.calls(), 10);
    victim.must_be_right();
}

#[test]
fn thirty_two_bit_processes_are_refused() {
    let Some(path) = support::compile_with("called", "gcc", &["-m32", "-static"]) else {
        println!("skipped: no 32-bit C library");
        return;
    };
    let mut victim = Victim::start(&path, &[]);
    let error = Target::open(victim.pid())
        .and_then(|t| t.stop().map(drop))
        .expect_err("32 bits");
    assert!(matches!(error, Error::NotX8664 { .. }), "{error}");
    victim.order("call 10");
    victim.must_be_right();
}
