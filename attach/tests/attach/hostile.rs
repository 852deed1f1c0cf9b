//! A process may write anything into the memory that it shares with its injector.

use std::mem::{offset_of, size_of};
use std::time::{Duration, Instant};

use bpftime_abi::target::{
    Control, ControlPage, HookRecord, MAX_HOOKS, MAX_MAPPINGS, MappingRecord, PatchRecord,
};
use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Target, detach};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::hooking::{Counters, Hooking};
use crate::support::{self, Link, Victim};

/// What breaks sums and loops.
const NUMBERS: [u64; 5] = [1, 4096, 0x7fff_ffff_f000, u64::MAX - 4095, u64::MAX];

/// Where the control memory is.
fn control(target: &Target) -> u64 {
    let maps = target.maps().expect("maps");
    maps.memfd(b"bpftime-control").next().expect("mapped").start
}

fn put(target: &Target, offset: usize, value: u64) {
    target
        .write(control(target) + offset as u64, &value.to_le_bytes())
        .expect("written");
}

/// Attaches, lets `scribble` write into the control memory, and detaches.
fn survives(path: &std::path::Path, scribble: impl Fn(&Target)) {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let module = Module::open(path).expect("module");
    let victim = Victim::start(path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    hooking
        .link(&mut stopped, &module, "probed", When::Return, &counters)
        .expect("linked");
    drop(stopped);
    scribble(&target);
    let start = Instant::now();
    // Whether it works does not matter: what is undone is what the process says.
    let _ = detach(&target);
    let mut stopped = target.stop().expect("stopped");
    let _ = Hooking::attach(&mut stopped, &image);
    drop(stopped);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn numbers_that_cannot_be_added_up() {
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let page = offset_of!(Control, page);
    let places = [
        page + offset_of!(ControlPage, image),
        page + offset_of!(ControlPage, image_len),
        page + offset_of!(ControlPage, state),
        page + offset_of!(ControlPage, target_id),
        offset_of!(Control, mappings) + offset_of!(MappingRecord, address),
        offset_of!(Control, mappings) + offset_of!(MappingRecord, len),
        offset_of!(Control, hooks) + offset_of!(HookRecord, site),
        offset_of!(Control, hooks) + offset_of!(HookRecord, return_point),
    ];
    for number in NUMBERS {
        for place in places {
            survives(&path, |target| put(target, place, number));
        }
        survives(&path, |target| {
            for index in 0..MAX_HOOKS {
                let hook = offset_of!(Control, hooks) + index * size_of::<HookRecord>();
                for patch in 0..2 {
                    let patch =
                        hook + offset_of!(HookRecord, patches) + patch * size_of::<PatchRecord>();
                    put(target, patch + offset_of!(PatchRecord, address), number);
                    put(target, patch + offset_of!(PatchRecord, len), 8);
                }
            }
        });
        survives(&path, |target| {
            for index in 0..MAX_MAPPINGS {
                let at = offset_of!(Control, mappings) + index * size_of::<MappingRecord>();
                put(target, at + offset_of!(MappingRecord, len), number);
            }
        });
    }
}

#[test]
fn random_journals() {
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    for seed in 0..u64::from(support::iterations(10, 1000)) {
        survives(&path, |target| {
            let mut random = StdRng::seed_from_u64(seed);
            let maps = target.maps().expect("maps");
            let starts: Vec<u64> = maps.iter().map(|m| m.start).collect();
            for _ in 0..random.random_range(1..400) {
                // The first two words say whose and which memory this is.
                let word = random.random_range(3..size_of::<Control>() / 8);
                let number = match random.random_range(0..4) {
                    0 => NUMBERS[random.random_range(0..NUMBERS.len())],
                    1 => starts[random.random_range(0..starts.len())],
                    2 => random.random_range(0..300),
                    _ => random.random(),
                };
                put(target, word * 8, number);
            }
        });
    }
}

/// A stack full of return points, or of addresses of code, each another one: looking at it takes
/// bounded time and memory.
#[test]
fn stacks_full_of_addresses() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = support::compile("crowded", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    for what in ["returns", "code"] {
        let mut victim = Victim::start(&path, &[what]);
        let target = Target::open(victim.pid()).expect("target");
        let counters = Counters::new();
        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        hooking
            .link(&mut stopped, &module, "probed", When::Return, &counters)
            .expect("linked");
        drop(stopped);
        victim.order("fill");
        let start = Instant::now();
        let done = detach(&target).expect("detached");
        assert_eq!(done.restored, 1);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(30), "{what}: {took:?}");
        println!("{what}: {took:?}, {done:?}");
        victim.order("empty");
        victim.must_be_right();
    }
}
