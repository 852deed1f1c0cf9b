//! Unwinders are told of return points as long as there are any, whoever comes and goes meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bpftime_attach::inject::{Image, Module, Unwinders, When};
use bpftime_attach::{Error, Stopped, Target, detach};

use crate::exceptions::{LINKS, compile_cpp};
use crate::hooking::{Counters, Hooking};
use crate::inject::{assert_same_code, code, ours};
use crate::support::{self, Victim};

#[test]
fn unwinders_get_their_code_back_with_the_last_return() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    for flags in LINKS {
        let Some(path) = compile_cpp(flags) else {
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let before = code(&target);
        let counters = Counters::new();
        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        let link = |hooking: &mut Hooking, stopped: &mut Stopped<'_>, function, when| {
            let link = hooking.link(stopped, &module, function, when, &counters);
            link.unwrap_or_else(|error| panic!("{function}: {error}"))
        };
        link(&mut hooking, &mut stopped, "leaf", When::Entry);
        drop(stopped);
        assert_eq!(patched(&before, &target), 1, "entries need no unwinder");
        let mut stopped = target.stop().expect("stopped");
        let first = link(&mut hooking, &mut stopped, "between", When::Return);
        let second = link(&mut hooking, &mut stopped, "thrower", When::Return);
        drop(stopped);
        assert!(patched(&before, &target) > 3, "unwinders know");
        let mut stopped = target.stop().expect("stopped");
        assert_eq!(hooking.injection.sites().len(), 3, "which are no probes");
        hooking
            .injection
            .unlink(&mut stopped, first)
            .expect("unlinked");
        drop(stopped);
        victim.order("throw 10");
        let mut stopped = target.stop().expect("stopped");
        hooking
            .injection
            .unlink(&mut stopped, second)
            .expect("unlinked");
        drop(stopped);
        assert_eq!(patched(&before, &target), 1, "{flags:?}");
        victim.order("throw 10");
        // And once more.
        let mut stopped = target.stop().expect("stopped");
        link(&mut hooking, &mut stopped, "between", When::Return);
        drop(stopped);
        victim.order("throw 10");
        assert!(detach(&target).expect("detached").was_attached);
        assert_same_code(&before, &target, "after detach");
        assert_eq!(ours(&target), 0);
        victim.order("throw 10");
        victim.must_be_right();
    }
}

/// Pages of code that differ from what they were.
fn patched(before: &[(PathBuf, Vec<u8>)], target: &Target) -> usize {
    let now = code(target);
    let mut count = 0;
    for (name, old) in before {
        let new = now
            .iter()
            .find(|(n, new)| n == name && new.len() == old.len());
        let (_, new) = new.expect("mapped as before");
        let mut place = 0;
        while let Some(differs) = (place..old.len()).find(|i| old[*i] != new[*i]) {
            count += 1;
            place = differs + 5;
        }
    }
    count
}

/// The functions of the victim that its busy thread calls.
const BUSY: [&str; 5] = ["thrower", "between", "cleans", "rethrows", "survives"];

fn cycle(
    target: &Target,
    image: &Image,
    module: &Module,
    unwinders: &mut Unwinders,
) -> Result<bool, Error> {
    let counters = Counters::new();
    let mut links = Vec::new();
    let mut stopped = target.stop()?;
    let mut hooking = Hooking::attach(&mut stopped, image)?;
    std::mem::swap(&mut hooking.unwinders, unwinders);
    for function in BUSY {
        links.push(hooking.link(&mut stopped, module, function, When::Return, &counters)?);
    }
    drop(stopped);
    std::thread::sleep(Duration::from_micros(300));
    let mut stopped = target.stop()?;
    for link in links.drain(1..) {
        hooking.injection.unlink(&mut stopped, link)?;
    }
    drop(stopped);
    std::thread::sleep(Duration::from_micros(100));
    let mut stopped = target.stop()?;
    hooking.injection.unlink(&mut stopped, links[0])?;
    drop(stopped);
    detach(target)?;
    std::mem::swap(&mut hooking.unwinders, unwinders);
    Ok(counters.calls() > 0)
}

#[test]
fn probed_and_detached_while_exceptions_are_on_their_way() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    for flags in LINKS {
        let Some(path) = compile_cpp(flags) else {
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let before = code(&target);
        victim.order("busy");
        let (mut cycles, mut seen) = (0, 0);
        let mut unwinders = Unwinders::default();
        let millis = support::iterations(2000, 60_000);
        let end = Instant::now() + Duration::from_millis(millis.into());
        while Instant::now() < end {
            seen += u32::from(cycle(&target, &image, &module, &mut unwinders).expect("cycle"));
            cycles += 1;
        }
        println!("{flags:?}: {cycles} cycles, returns seen in {seen}");
        assert!(seen > 0);
        victim.order("idle");
        let done = detach(&target).expect("detached");
        assert!(!done.code_left, "{done:?}");
        assert_same_code(&before, &target, "at the end");
        assert_eq!(ours(&target), 0);
        victim.must_be_right();
    }
}

/// Not a test by itself: attaches, hooks, unhooks and detaches until it is killed.
#[test]
fn role_of_an_injector() {
    let Ok(pid) = std::env::var("BPFTIME_TEST_INJECT") else {
        return;
    };
    let path = std::env::var("BPFTIME_TEST_VICTIM").unwrap();
    let image = support::image().expect("image");
    let image = Image::parse(&image).expect("image");
    let module = Module::open(Path::new(&path)).expect("module");
    let Ok(target) = Target::open(pid.parse().unwrap()) else {
        return;
    };
    let mut unwinders = Unwinders::default();
    unwinders.look(&target.maps().expect("maps"));
    println!("injecting");
    loop {
        match cycle(&target, &image, &module, &mut unwinders) {
            Ok(_) => {}
            // The one that was killed before has left something that a thread is in.
            Err(Error::MayUnwind { unwinder, .. }) => {
                assert!(unwinder.contains("earlier attachment"), "{unwinder}");
                detach(&target).expect("detached");
            }
            Err(error) => {
                assert!(error.is_gone(), "{error}");
                return;
            }
        }
    }
}

#[test]
fn injector_may_be_killed_while_exceptions_are_on_their_way() {
    if support::image().is_none() {
        return;
    }
    let Some(path) = compile_cpp(&[]) else {
        return;
    };
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let before = code(&target);
    victim.order("busy");
    for round in 0..support::iterations(40, 1000) {
        let mut injector = support::rerun("unwinders::role_of_an_injector")
            .env("BPFTIME_TEST_INJECT", victim.pid().to_string())
            .env("BPFTIME_TEST_VICTIM", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("injector");
        let mut output = std::io::BufReader::new(injector.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("injecting") {
            line.clear();
            if std::io::BufRead::read_line(&mut output, &mut line).expect("output") == 0 {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(u64::from(round) * 997 % 30_000));
        let ended = injector.try_wait().expect("injector");
        injector.kill().expect("killed");
        injector.wait().expect("injector");
        assert!(!victim.ended(), "the victim ended in round {round}");
        assert!(ended.is_none(), "the injector failed in round {round}");
        if round % 4 == 0 {
            let done = (0..20)
                .map(|_| detach(&target).expect("detached"))
                .find(|done| !done.code_left)
                .expect("threads leave our code");
            assert!(done.foreign.is_empty(), "{done:?}");
            assert_same_code(&before, &target, "after the kill");
            assert_eq!(ours(&target), 0);
        }
    }
    victim.order("idle");
    victim.must_be_right();
}
