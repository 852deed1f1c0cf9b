//! Return probes are refused where somebody unwinds or moves stacks and would meet the return
//! point that stands for the function's own return address.

use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Error, Target, detach};

use crate::exceptions::compile_by;
use crate::hooking::{Counters, Hooking};
use crate::support::{self, Victim};

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
        let linked = hooking.on_return(&mut stopped, &module, "probed", &returns);
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
        match hooking.on_return(&mut stopped, &module, name, &counters) {
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

#[test]
fn functions_of_programs_whose_unwinder_is_not_found_are_probed_at_entry_only() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = compile_by("g++", "throws.cc", &["-O2", "-pthread", "-static"]) else {
        return;
    };
    let offset = |function| {
        let module = Module::open(&path).expect("module");
        module.elf().function(function).expect(function).offset
    };
    let stripped = path.with_extension("stripped");
    let strip = std::process::Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(&path)
        .status();
    assert!(strip.expect("strip").success());
    let module = Module::open(&stripped).expect("module");
    let mut victim = Victim::start(&stripped, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let [entries, returns] = [Counters::new(), Counters::new()];
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    let between = offset("between");
    hooking
        .link_at(&mut stopped, &module, between, When::Entry, &entries)
        .expect("entry");
    let error = hooking
        .link_at(&mut stopped, &module, between, When::Return, &returns)
        .expect_err("return");
    assert!(matches!(error, Error::MayUnwind { .. }), "{error}");
    assert!(
        error.to_string().contains("no unwinder was found"),
        "{error}"
    );
    drop(stopped);
    victim.order("throw 100");
    assert_eq!((entries.calls(), returns.calls()), (200, 0));
    assert!(detach(&target).expect("detached").was_attached);
    victim.must_be_right();
}

#[test]
fn other_unwinders_are_not_told() {
    let Some(image) = support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let library = "/usr/lib/x86_64-linux-gnu/libunwind.so.8";
    if !std::path::Path::new(library).exists() {
        println!("skipped: no {library}");
        return;
    }
    let flags = ["-O2", "-pthread", "-Wl,--no-as-needed", library];
    let Some(path) = compile_by("g++", "throws.cc", &flags) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("target");
    let counters = Counters::new();
    let mut stopped = target.stop().expect("stopped");
    let mut hooking = Hooking::attach(&mut stopped, &image).expect("attached");
    let error = hooking.on_return(&mut stopped, &module, "between", &counters);
    let error = error.expect_err("refused");
    assert!(error.to_string().contains("libunwind"), "{error}");
    drop(stopped);
    victim.order("throw 100");
    assert!(detach(&target).expect("detached").was_attached);
    victim.must_be_right();
}
