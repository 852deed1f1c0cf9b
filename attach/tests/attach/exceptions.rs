//! Exceptions, cancellations and backtraces pass functions whose return is probed, as if it were
//! not.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Error, Stopped, Target, detach};

use crate::hooking::{Counters, Hooking};
use crate::support::{self, Victim};

/// Compiles a victim in C++; `None` (with a message) if there is no compiler.
fn compile_cpp(flags: &[&str]) -> Option<PathBuf> {
    let output = support::folder().join(format!(
        "throws{}{:?}",
        flags.join(""),
        std::thread::current().id()
    ));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attach/victims/throws.cc");
    let result = Command::new("g++")
        .args(["-O2", "-pthread", "-o"])
        .arg(&output)
        .arg(source)
        .args(flags)
        .output();
    match result {
        Ok(result) if result.status.success() => Some(output),
        Ok(result) => panic!("g++: {}", String::from_utf8_lossy(&result.stderr)),
        Err(error) => {
            println!("skipped: g++: {error}");
            None
        }
    }
}

/// How a C++ program gets at its unwinder.
const LINKS: [&[&str]; 3] = [&[], &["-static-libgcc", "-static-libstdc++"], &["-static"]];

/// A victim with return probes.
struct Probed {
    victim: Victim,
    target: Target,
    hooking: Hooking,
    module: Module,
    counters: Vec<(&'static str, Counters)>,
}

impl Probed {
    /// `None` if there is no image or no compiler.
    fn start(flags: &[&str], functions: &[&'static str]) -> Option<Self> {
        let image = Image::parse(&support::image()?).expect("image");
        let path = compile_cpp(flags)?;
        let module = Module::open(&path).expect("module");
        let victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let mut stopped = target.stop().expect("stopped");
        let hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        drop(stopped);
        let mut probed = Self {
            victim,
            target,
            hooking,
            module,
            counters: Vec::new(),
        };
        for function in functions {
            let result = probed.link(function);
            result.unwrap_or_else(|error| panic!("{function} ({flags:?}): {error}"));
        }
        Some(probed)
    }

    fn link(&mut self, function: &'static str) -> Result<(), Error> {
        let counters = Counters::new();
        let mut stopped = self.target.stop().expect("stopped");
        on_return(
            &mut self.hooking,
            &mut stopped,
            &self.module,
            function,
            &counters,
        )?;
        self.counters.push((function, counters));
        Ok(())
    }

    /// How often each function's return was seen.
    fn returns(&self) -> Vec<u64> {
        self.counters.iter().map(|(_, c)| c.calls()).collect()
    }

    fn end(self) {
        assert!(detach(&self.target).expect("detached").was_attached);
        self.victim.must_be_right();
    }
}

fn on_return(
    hooking: &mut Hooking,
    stopped: &mut Stopped<'_>,
    module: &Module,
    function: &str,
    counters: &Counters,
) -> Result<(), Error> {
    let link = hooking.link(stopped, module, function, When::Return, counters);
    link.map(drop)
}

#[test]
fn exceptions_pass_probed_returns() {
    for flags in LINKS {
        let functions = ["thrower", "between", "jumper", "leaf"];
        let Some(mut probed) = Probed::start(flags, &functions) else {
            return;
        };
        probed.victim.order("throw 100");
        // Of two calls one throws; `jumper` calls `between`, which calls `thrower`.
        assert_eq!(probed.returns(), [100, 100, 50, 100], "{flags:?}");
        let (_, leaf) = &probed.counters[3];
        assert_eq!(leaf.sum(), (0..100).map(|i| i * 3).sum::<u64>());
        probed.end();
    }
}

#[test]
fn exceptions_pass_clean_ups_and_are_thrown_again() {
    for flags in LINKS {
        let functions = [
            "thrower", "between", "cleans", "rethrows", "survives", "leaf",
        ];
        let Some(mut probed) = Probed::start(flags, &functions) else {
            return;
        };
        probed.victim.order("nested 100");
        // The clean-up calls `between` twice, once throwing.
        assert_eq!(probed.returns(), [150, 150, 50, 50, 100, 50], "{flags:?}");
        probed.end();
    }
}

#[test]
fn exceptions_pass_in_threads_and_through_libc() {
    let Some(mut probed) = Probed::start(&[], &["thrower", "between"]) else {
        return;
    };
    let maps = probed.target.maps().expect("maps");
    let libc = maps
        .iter()
        .find(|m| m.execute && m.name.to_string_lossy().contains("/libc.so"));
    let Some(libc) = libc else {
        println!("skipped: the C library has another name");
        return;
    };
    let libc = Module::open(&libc.name).expect("libc");
    let sorts = Counters::new();
    let mut stopped = probed.target.stop().expect("stopped");
    let hooking = &mut probed.hooking;
    on_return(hooking, &mut stopped, &libc, "qsort", &sorts).expect("qsort");
    drop(stopped);
    probed.victim.order("threads 1000");
    probed.victim.order("sort 100");
    assert_eq!(probed.returns(), [2000, 2000]);
    assert_eq!(sorts.calls(), 50);
    probed.end();
}

#[test]
fn backtraces_go_on_after_probed_returns() {
    for flags in LINKS {
        let Some(mut probed) = Probed::start(flags, &["innermost", "traced"]) else {
            return;
        };
        probed.victim.order("trace 10");
        assert_eq!(probed.returns(), [10, 10], "{flags:?}");
        probed.end();
    }
}

#[test]
fn cancelled_threads_clean_up_after_probed_returns() {
    // With a libgcc of their own, C++ programs do not survive a cancellation, probed or not: libc
    // loads another one for it.
    for flags in [&[][..], &["-static"]] {
        let Some(mut probed) = Probed::start(flags, &["waits", "leaves"]) else {
            return;
        };
        probed.victim.order("cancel 100");
        assert_eq!(probed.returns(), [0, 0], "{flags:?}");
        probed.end();
    }
}
