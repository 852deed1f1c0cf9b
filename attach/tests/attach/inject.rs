//! Hooks see every call, disturb none, and leave nothing behind.

use std::path::Path;
use std::time::Duration;

use crate::hooking::{Counters, Hooking};
use crate::support::{Link, Victim};
use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Error, Target, detach};
use rand::Rng;

fn image() -> Option<Image> {
    Some(Image::parse(&crate::support::image()?).expect("image"))
}

/// All executable file mappings of a process, as (file, bytes).
pub(crate) fn code(target: &Target) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let maps = target.maps().expect("maps");
    maps.iter()
        .filter(|m| m.execute && m.is_file())
        .map(|m| {
            let mut bytes = vec![0; m.len() as usize];
            target.read(m.start, &mut bytes).expect("readable");
            (m.name.clone(), bytes)
        })
        .collect()
}

/// Panics with the places where code differs.
pub(crate) fn assert_same_code(
    before: &[(std::path::PathBuf, Vec<u8>)],
    target: &Target,
    when: &str,
) {
    for ((name, old), (_, new)) in before.iter().zip(&code(target)) {
        let differs: Vec<_> = (0..old.len())
            .filter(|i| old.get(*i) != new.get(*i))
            .collect();
        assert!(
            differs.is_empty(),
            "{when}: {} differs from {:#x} to {:#x}",
            name.display(),
            differs[0],
            differs[differs.len() - 1]
        );
    }
}

/// How many mappings of ours there are; says which.
pub(crate) fn ours(target: &Target) -> usize {
    let maps = target.maps().expect("maps");
    let ours = maps.iter().filter(|m| m.memfd_name().is_some());
    ours.inspect(|m| println!("{m:x?}")).count()
}

#[test]
fn counts_calls_and_returns() {
    let Some(image) = image() else { return };
    crate::support::also_as_nobody("inject::counts_calls_and_returns");
    for link in [Link::Dynamic, Link::Static, Link::Musl] {
        let Some(path) = crate::support::compile("called", link, &[]) else {
            continue;
        };
        let mut victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let before = code(&target);
        let module = Module::open(&path).expect("module");

        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        let entry = Counters::new();
        let exit = Counters::new();
        let probed = hooking
            .link(&mut stopped, &module, "probed", When::Entry, &entry)
            .expect("entry");
        let state = hooking.injection.state_address();
        drop(stopped);
        victim.order("call 1000");
        assert_eq!(entry.calls(), 1000, "{link:?}");

        let mut stopped = target.stop().expect("stopped");
        hooking
            .link(&mut stopped, &module, "probed", When::Return, &exit)
            .expect("return");
        drop(stopped);
        victim.order("call 1000");
        assert_eq!((entry.calls(), exit.calls()), (2000, 1000), "{link:?}");
        assert_eq!(exit.sum(), (0..1000).map(|i| i + 114).sum::<u64>());

        let mut stopped = target.stop().expect("stopped");
        hooking
            .injection
            .unlink(&mut stopped, probed)
            .expect("unlinked");
        drop(stopped);
        victim.order("threads 1000");
        assert_eq!((entry.calls(), exit.calls()), (2000, 9000), "{link:?}");
        victim.order("fork 100");

        let done = detach(&target).expect("detached");
        assert!(
            done.was_attached && !done.code_left && done.foreign.is_empty(),
            "{done:?}"
        );
        assert_eq!(done.restored, 1);
        assert_eq!(ours(&target), 0);
        assert_same_code(
            &before,
            &target,
            &format!("{link:?}: code is not as it was"),
        );
        assert!(
            target.maps().expect("maps").at(state).is_none(),
            "{link:?}: state is mapped"
        );
        victim.order("call 1000");
        assert_eq!(entry.calls(), 2000);
        assert!(!detach(&target).expect("nothing to do").was_attached);
        victim.must_be_right();
    }
}

#[test]
fn recursion_tail_calls_and_jumps() {
    let Some(image) = image() else { return };
    let Some(path) = crate::support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let module = Module::open(&path).expect("module");
    let counters: Vec<Counters> = (0..5).map(|_| Counters::new()).collect();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    for (name, counter) in ["recursive", "first", "last", "jumping", "tiny"]
        .iter()
        .zip(&counters)
    {
        hooking
            .link(&mut stopped, &module, name, When::Return, counter)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    drop(stopped);
    victim.order("recurse 500");
    victim.order("tail 500");
    victim.order("jump 50");
    victim.order("call 10");
    let calls: Vec<u64> = counters.iter().map(Counters::calls).collect();
    assert!(calls[0] > 0, "recursion was not seen: {calls:?}");
    assert_eq!((calls[1], calls[2], calls[4]), (500, 500, 10), "{calls:?}");
    let done = detach(&target).expect("detached");
    assert!(!done.code_left, "{done:?}");
    victim.order("recurse 500");
    victim.must_be_right();
}

#[test]
fn library_functions() {
    let Some(image) = image() else { return };
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    let victim = Victim::start(
        &path,
        &[
            "2500",
            "spin",
            "nanosleep",
            "threads",
            "read",
            "write",
            "tick",
        ],
    );
    let target = Target::open(victim.pid()).expect("target");
    let libc = target
        .maps()
        .expect("maps")
        .iter()
        .find(|m| m.name.to_string_lossy().contains("/libc.so"))
        .expect("libc")
        .name
        .clone();
    let module = Module::open(&libc).expect("module");
    let counters: Vec<Counters> = (0..6).map(|_| Counters::new()).collect();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    let functions = [
        ("clock_gettime", When::Entry),
        ("clock_gettime", When::Return),
        ("pthread_create", When::Entry),
        ("pthread_create", When::Return),
        ("read", When::Entry),
        ("malloc", When::Return),
    ];
    let mut linked = 0;
    for ((name, when), counter) in functions.into_iter().zip(&counters) {
        match hooking.link(&mut stopped, &module, name, when, counter) {
            Ok(_) => linked += 1,
            Err(error) => println!("{name}: {error}"),
        }
    }
    drop(stopped);
    std::thread::sleep(Duration::from_millis(300));
    let calls: Vec<u64> = counters.iter().map(Counters::calls).collect();
    println!("{linked} of {} linked, calls {calls:?}", functions.len());
    assert!(linked >= 4);
    assert!(calls[2] > 0 && calls[3] > 0, "{calls:?}");
    let done = detach(&target).expect("detached");
    println!("{done:?}");
    victim.must_be_right();
}

#[test]
fn refusals_are_clear() {
    let Some(image) = image() else { return };
    let Some(path) = crate::support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let module = Module::open(&path).expect("module");
    let other = Module::open(Path::new("/bin/sh")).expect("module");
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    let spec = |module, offset| bpftime_attach::inject::LinkSpec {
        module,
        offset,
        when: When::Entry,
        program: bpftime_attach::inject::ProgramSpec {
            entry: bpftime_abi::EntryPoint::new(0),
            maps: 0,
            map_values: 0,
            cookie: 0,
            needs_cpu: false,
            link_id: 0,
        },
    };
    let mut unwinders = bpftime_attach::inject::Unwinders::default();
    let start = module.elf().function("probed").expect("probed").offset;
    let error = hooking
        .injection
        .link(&mut stopped, &spec(&module, start + 1), &mut unwinders)
        .unwrap_err();
    assert!(error.to_string().contains("1 bytes into probed"), "{error}");
    let segment = other.elf().segments().iter().find(|s| s.execute).unwrap();
    let error = hooking
        .injection
        .link(&mut stopped, &spec(&other, segment.offset), &mut unwinders)
        .unwrap_err();
    assert!(matches!(error, Error::NotLoaded { .. }), "{error}");
    let data = module.elf().segments().iter().find(|s| !s.execute).unwrap();
    assert!(
        hooking
            .injection
            .link(&mut stopped, &spec(&module, data.offset), &mut unwinders)
            .is_err()
    );
    drop(stopped);
    detach(&target).expect("detached");
    victim.must_be_right();
}

/// Not a test by itself: attaches, hooks, unhooks and detaches until it is killed.
#[test]
fn role_of_an_injector() {
    let Ok(pid) = std::env::var("BPFTIME_TEST_INJECT") else {
        return;
    };
    let path = std::env::var("BPFTIME_TEST_VICTIM").unwrap();
    let image = image().expect("image");
    let module = Module::open(Path::new(&path)).expect("module");
    let Ok(target) = Target::open(pid.parse().unwrap()) else {
        return;
    };
    println!("injecting");
    loop {
        if let Err(error) = cycle(&target, &image, &module) {
            assert!(error.is_gone(), "{error}");
            return;
        }
    }
}

fn cycle(target: &Target, image: &Image, module: &Module) -> Result<(), Error> {
    let counters = Counters::new();
    let mut stopped = target.stop()?;
    let mut hooking = Hooking::attach(&mut stopped, image)?;
    let entry = hooking.link(&mut stopped, module, "hot", When::Entry, &counters)?;
    drop(stopped);
    std::thread::sleep(Duration::from_micros(100));
    let mut stopped = target.stop()?;
    hooking.link(&mut stopped, module, "hot", When::Return, &counters)?;
    hooking.link(&mut stopped, module, "deep", When::Return, &counters)?;
    drop(stopped);
    std::thread::sleep(Duration::from_micros(100));
    let mut stopped = target.stop()?;
    hooking.injection.unlink(&mut stopped, entry)?;
    drop(stopped);
    detach(target)?;
    Ok(())
}

#[test]
fn attach_and_detach_all_the_time() {
    let Some(image) = image() else { return };
    crate::support::also_as_nobody("inject::attach_and_detach_all_the_time");
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    let victim = Victim::start(
        &path,
        &["2500", "hot", "hot", "nanosleep", "sigsuspend", "tick-hot"],
    );
    let target = Target::open(victim.pid()).expect("target");
    let module = Module::open(&path).expect("module");
    let before = code(&target);
    let end = std::time::Instant::now() + Duration::from_millis(2000);
    let mut cycles = 0;
    while std::time::Instant::now() < end {
        cycle(&target, &image, &module).expect("cycle");
        cycles += 1;
    }
    println!("{cycles} cycles");
    let done = detach(&target).expect("detached");
    assert!(!done.code_left, "{done:?}");
    assert_same_code(&before, &target, "at the end");
    assert_eq!(ours(&target), 0);
    victim.must_be_right();
}

#[test]
fn injector_may_be_killed_at_any_moment() {
    if image().is_none() {
        return;
    }
    crate::support::also_as_nobody("inject::injector_may_be_killed_at_any_moment");
    let rounds = crate::support::iterations(50, 1000);
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    let mut victim = Victim::start(
        &path,
        &["0", "hot", "hot", "nanosleep", "sigsuspend", "tick-hot"],
    );
    let target = Target::open(victim.pid()).expect("target");
    let before = code(&target);
    for round in 0..rounds {
        let mut injector = crate::support::rerun("inject::role_of_an_injector")
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
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..30_000)));
        let ended = injector.try_wait().expect("injector");
        injector.kill().expect("killed");
        injector.wait().expect("injector");
        assert!(!victim.ended(), "the victim ended in round {round}");
        assert!(ended.is_none(), "the injector failed in round {round}");
        if round % 4 == 0 {
            // Anybody can clean up. Threads may need more than one attempt to get out.
            let done = (0..20)
                .map(|_| detach(&target).expect("detached"))
                .find(|done| !done.code_left)
                .expect("threads leave our code");
            assert!(done.foreign.is_empty(), "{done:?}");
            assert_same_code(
                &before,
                &target,
                &format!("code is not as it was after round {round}"),
            );
            assert_eq!(ours(&target), 0);
        }
    }
    victim.end();
}

#[test]
fn functions_that_others_jump_into() {
    let Some(image) = image() else { return };
    let Some(path) = crate::support::compile("crossing", Link::Dynamic, &[]) else {
        return;
    };
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let module = Module::open(&path).expect("module");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    hooking
        .link(&mut stopped, &module, "entered", When::Entry, &counters)
        .expect("there is padding for an island");
    drop(stopped);
    victim.order("cross");
    assert_eq!(counters.calls(), 100);
    assert_eq!(detach(&target).expect("detached").restored, 1);
    victim.order("cross");
    assert_eq!(counters.calls(), 100);
    victim.must_be_right();
}
