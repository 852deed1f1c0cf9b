//! Every program of the set is accepted, and gives what it must in our engines.

use bpftime_bench_programs::built::{Built, Cpu};
use bpftime_bench_programs::{EMPTY, PROGRAMS, Program};
use bpftime_drivers::engine;

fn built() -> Option<Built> {
    let found = Built::find();
    if let Err(error) = &found {
        eprintln!("skipped: {error}");
    }
    found.ok()
}

fn all() -> impl Iterator<Item = &'static Program> {
    static EMPTY_TOO: [Program; 1] = [EMPTY];
    PROGRAMS.iter().chain(&EMPTY_TOO)
}

#[test]
fn each_program_gives_what_it_must_however_often_it_runs() {
    let Some(built) = built() else { return };
    for program in all() {
        let memory = (program.memory)();
        let expected = (program.expected)(&memory);
        for cpu in [Cpu::V3, Cpu::V4] {
            let flat = built.flat(program, cpu).expect("the object can be read");
            for engine in engine::all() {
                let what = format!("{} {} {}", program.name, cpu.name(), engine.name());
                let mut loaded = engine
                    .load(flat.clone(), memory.len())
                    .unwrap_or_else(|error| panic!("{what}: {error:#}"));
                loaded.set_memory(&memory).expect("memory");
                for times in [1, 3] {
                    let result = loaded.run(times).expect("it runs");
                    assert_eq!(result, expected, "{what}, {times} times");
                }
            }
        }
    }
}

/// Else an engine that returns a constant, or forgets the memory, would pass.
#[test]
fn what_is_expected_depends_on_the_memory() {
    for program in &PROGRAMS {
        let memory = (program.memory)();
        let expected = (program.expected)(&memory);
        let depends = (0..memory.len()).any(|at| {
            let mut other = memory.clone();
            other[at] ^= 4;
            (program.expected)(&other) != expected
        });
        assert!(depends, "{}", program.name);
        assert_eq!((program.memory)(), memory, "{}", program.name);
    }
}

#[test]
fn programs_with_maps_are_those_that_say_so() {
    let Some(built) = built() else { return };
    for program in all() {
        let flat = built
            .flat(program, Cpu::V4)
            .expect("the object can be read");
        assert_eq!(!flat.maps.is_empty(), program.maps, "{}", program.name);
    }
}
