//! Return probes are refused where somebody unwinds or moves stacks and would meet the return
//! point that stands for the function's own return address.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Error, Stopped, Target, detach};

use crate::hooking::{Counters, Hooking};
use crate::support::{self, Victim};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/attach/victims")
        .join(name)
}

/// Compiles a victim in C++; `None` (with a message) if there is no compiler.
fn compile_cpp(flags: &[&str]) -> Option<PathBuf> {
    let output = support::folder().join(format!("throws{}", flags.join("")));
    let result = Command::new("g++")
        .args(["-O2", "-o"])
        .arg(&output)
        .arg(source("throws.cc"))
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

/// Links the counting program to the return of a function.
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
fn exceptions_pass_where_a_return_probe_was_asked_for() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    for flags in [&[][..], &["-static"]] {
        let Some(path) = compile_cpp(flags) else {
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut victim = Victim::start(&path, &[]);
        victim.order("throw 10");
        let target = Target::open(victim.pid()).expect("target");
        let counters = Counters::new();
        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        for function in ["thrower", "between"] {
            let error = on_return(&mut hooking, &mut stopped, &module, function, &counters)
                .expect_err(function);
            assert!(matches!(error, Error::MayUnwind { .. }), "{error}");
            assert!(error.to_string().contains("exception"), "{error}");
        }
        drop(stopped);
        victim.order("throw 100");

        // Entries, and returns that no exception can take the place of.
        let [entries, returns] = [Counters::new(), Counters::new()];
        let mut stopped = target.stop().expect("stopped");
        hooking
            .link(&mut stopped, &module, "thrower", When::Entry, &entries)
            .expect("entry");
        on_return(&mut hooking, &mut stopped, &module, "leaf", &returns).expect("leaf");
        drop(stopped);
        victim.order("throw 100");
        assert_eq!((entries.calls(), returns.calls()), (100, 100), "{flags:?}");
        assert_eq!(returns.sum(), (0..100).map(|i| i * 3).sum::<u64>());
        assert!(detach(&target).expect("detached").was_attached);
        victim.order("throw 100");
        victim.must_be_right();
    }
}

#[test]
fn functions_of_libc_are_return_probed_in_a_cpp_program() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = compile_cpp(&[]) else {
        return;
    };
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let maps = target.maps().expect("maps");
    let file = |name: &str| {
        let mut files = maps.iter().filter(|m| m.execute && m.is_file());
        files.find(|m| m.name.to_string_lossy().contains(name))
    };
    let (Some(libc), Some(libstdcpp)) = (file("/libc.so"), file("/libstdc++.so")) else {
        println!("skipped: the C libraries have other names");
        return;
    };
    let libc = Module::open(&libc.name).expect("libc");
    let libstdcpp = Module::open(&libstdcpp.name).expect("libstdc++");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    // Memory for exceptions comes from it.
    on_return(&mut hooking, &mut stopped, &libc, "malloc", &counters).expect("malloc");
    // It throws where there is no memory.
    let error = on_return(&mut hooking, &mut stopped, &libstdcpp, "_Znwm", &counters);
    let error = error.expect_err("operator new");
    assert!(matches!(error, Error::MayUnwind { .. }), "{error}");
    drop(stopped);
    victim.order("throw 100");
    assert!(counters.calls() >= 50, "{}", counters.calls());
    assert!(detach(&target).expect("detached").was_attached);
    victim.must_be_right();
}

#[test]
fn functions_of_go_programs_are_probed_at_entry_only() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    // A system linker merges the table into `.data.rel.ro` where it is called
    // `.data.rel.ro.gopclntab`; the others stay.
    let sections = [
        (".gopclntab", true),
        (".go.buildinfo", true),
        (".note.go.buildid", true),
        (".gopher", false),
    ];
    for (section, go) in sections {
        let define = format!("-DSECTION=\"{section}\"");
        let Some(path) = support::compile_with("gopher", "gcc", &[&define]) else {
            println!("skipped: gcc does not compile the victim");
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let [entries, returns] = [Counters::new(), Counters::new()];
        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        hooking
            .link(&mut stopped, &module, "probed", When::Entry, &entries)
            .expect("entry");
        let linked = on_return(&mut hooking, &mut stopped, &module, "probed", &returns);
        match linked {
            Err(error) => {
                assert!(go, "{section}: {error}");
                assert!(matches!(error, Error::GoFunction { .. }), "{error}");
                assert!(error.to_string().contains("Go"), "{error}");
            }
            Ok(()) => assert!(!go, "{section}: not refused"),
        }
        drop(stopped);
        victim.order("one");
        victim.order("two");
        let expected = (4, if go { 0 } else { 4 });
        assert_eq!((entries.calls(), returns.calls()), expected, "{section}");
        assert!(detach(&target).expect("detached").was_attached);
        victim.must_be_right();
    }
}

#[test]
fn mangled_names_are_a_sign_of_exceptions() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    for (name, mangled) in [
        ("outer", false),
        ("_Z5outerl", true),
        ("_RNvC1a5outer", true),
    ] {
        let define = format!("-DOUTER={name}");
        let Some(path) = support::compile_with("gopher", "gcc", &["-DSECTION=\".other\"", &define])
        else {
            println!("skipped: gcc does not compile the victim");
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut victim = Victim::start(&path, &[]);
        let target = Target::open(victim.pid()).expect("target");
        let counters = Counters::new();
        let mut stopped = target.stop().expect("stopped");
        let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
        match on_return(&mut hooking, &mut stopped, &module, name, &counters) {
            Err(error) => {
                assert!(mangled, "{error}");
                assert!(matches!(error, Error::MayUnwind { .. }), "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
            Ok(()) => assert!(!mangled, "{name}: not refused"),
        }
        drop(stopped);
        victim.order("one");
        assert_eq!(counters.calls(), u64::from(!mangled), "{name}");
        assert!(detach(&target).expect("detached").was_attached);
        victim.must_be_right();
    }
}
