//! Exceptions, cancellations and backtraces pass functions whose return is probed, as if it were
//! not.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpftime_attach::inject::{Image, Module};
use bpftime_attach::{Error, Target, detach};

use crate::hooking::{Counters, Hooking};
use crate::support::{self, Victim};

/// Compiles a victim; `None` (with a message) if there is no compiler.
pub(crate) fn compile_by(compiler: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let thread = std::thread::current().id();
    let unique = format!("{source}{}{thread:?}", flags.join("")).replace('/', "_");
    let output = support::folder().join(unique);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attach/victims");
    let result = Command::new(compiler)
        .arg("-o")
        .arg(&output)
        .arg(folder.join(source))
        .args(flags)
        .output();
    match result {
        Ok(result) if result.status.success() => Some(output),
        Ok(result) => panic!("{compiler}: {}", String::from_utf8_lossy(&result.stderr)),
        Err(error) => {
            println!("skipped: {compiler}: {error}");
            None
        }
    }
}

/// Compiles `throws.cc`; `None` (with a message) if there is no compiler.
pub(crate) fn compile_cpp(flags: &[&str]) -> Option<PathBuf> {
    compile_by("g++", "throws.cc", &[&["-O2", "-pthread"], flags].concat())
}

/// How a C++ program gets at its unwinder.
pub(crate) const LINKS: [&[&str]; 4] = [
    &[],
    &["-static-libgcc", "-static-libstdc++"],
    // Without symbols, but for those of the functions that are probed.
    &["-static-libgcc", "-static-libstdc++", "-rdynamic", "-s"],
    &["-static"],
];

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
        support::image()?;
        Self::attach(&compile_cpp(flags)?, &[], functions)
    }

    fn attach(path: &Path, args: &[&str], functions: &[&'static str]) -> Option<Self> {
        let image = Image::parse(&support::image()?).expect("image");
        let module = Module::open(path).expect("module");
        let victim = Victim::start(path, args);
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
            result.unwrap_or_else(|error| panic!("{function} ({}): {error}", path.display()));
        }
        Some(probed)
    }

    fn link(&mut self, function: &'static str) -> Result<(), Error> {
        let counters = Counters::new();
        let mut stopped = self.target.stop().expect("stopped");
        self.hooking
            .on_return(&mut stopped, &self.module, function, &counters)?;
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
    hooking
        .on_return(&mut stopped, &libc, "qsort", &sorts)
        .expect("qsort");
    drop(stopped);
    probed.victim.order("threads 1000");
    probed.victim.order("sort 100");
    assert_eq!(probed.returns(), [2000, 2000]);
    assert_eq!(sorts.calls(), 50);
    probed.end();
}

#[test]
fn exceptions_pass_in_forked_children() {
    for flags in LINKS {
        let functions = ["thrower", "between", "jumper", "cleans", "survives"];
        let Some(mut probed) = Probed::start(flags, &functions) else {
            return;
        };
        probed.victim.order("fork 50");
        probed.victim.order("reap");
        assert!(probed.returns()[0] > 0, "children are probed");
        // One that goes on with its copy of everything when the parent is detached.
        probed.victim.order("fork 50");
        let before = probed.returns();
        assert!(detach(&probed.target).expect("detached").was_attached);
        probed.victim.order("reap");
        assert_eq!(probed.returns(), before, "{flags:?}");
        probed.victim.must_be_right();
    }
}

#[test]
fn panics_pass_probed_returns() {
    if support::image().is_none() {
        return;
    }
    let edition = ["-O", "-g", "--edition", "2024"];
    let linked_statically = ["-C", "target-feature=+crt-static"];
    for flags in [&[][..], &linked_statically] {
        let flags = [&edition[..], flags].concat();
        let Some(path) = compile_by("rustc", "panics.rs", &flags) else {
            return;
        };
        let functions = ["thrower", "between", "leaf", "rethrows", "traced"];
        let Some(mut probed) = Probed::attach(&path, &[], &functions) else {
            return;
        };
        probed.victim.order("throw 100");
        probed.victim.order("trace 10");
        // What is dropped in `between` calls `thrower` and `leaf`.
        assert_eq!(probed.returns(), [150, 50, 100, 50, 10], "{flags:?}");
        probed.victim.order("threads 1000");
        assert_eq!(probed.returns(), [6150, 2050, 4100, 2050, 10], "{flags:?}");
        probed.end();
    }
}

#[test]
fn exceptions_of_libraries_that_are_loaded_later_pass() {
    if support::image().is_none() {
        return;
    }
    let Some(library) = compile_by("g++", "plugin.cc", &["-O2", "-fPIC", "-shared"]) else {
        return;
    };
    // Frames of C can be unwound, but nothing says that they may be.
    let Some(path) = compile_by("gcc", "plugs.c", &["-O2"]) else {
        return;
    };
    let library = library.to_str().expect("UTF-8");
    let Some(mut probed) = Probed::attach(&path, &[library], &["through"]) else {
        return;
    };
    let maps = probed.target.maps().expect("maps");
    let unwinds = |m: &bpftime_attach::Mapping| m.name.to_string_lossy().contains("libgcc_s");
    assert!(!maps.iter().any(unwinds), "not loaded yet");
    let asked = maps.iter().filter(|m| m.execute).any(|m| {
        let module = Module::open(&m.name);
        module.is_ok_and(|module| module.elf().function("_dl_find_object").is_ok())
    });
    if !asked {
        println!("skipped: the C library is older than 2.35");
        return;
    }
    probed.victim.order("throw 100");
    assert_eq!(probed.returns(), [50]);
    probed.end();
}

/// An update may replace libraries that a process goes on using.
#[test]
fn exceptions_pass_where_the_unwinders_file_is_deleted() {
    if support::image().is_none() {
        return;
    }
    let folder = support::folder().join("deleted");
    std::fs::create_dir_all(&folder).expect("folder");
    let output = Command::new("g++")
        .arg("-print-file-name=libgcc_s.so.1")
        .output();
    let Ok(output) = output else {
        println!("skipped: no g++");
        return;
    };
    let library = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let copy = folder.join("libgcc_s.so.1");
    std::fs::copy(&library, &copy).expect("copy");
    let path = format!("-Wl,-rpath,{}", folder.display());
    let Some(path) = compile_by("g++", "throws.cc", &["-O2", "-pthread", &path]) else {
        return;
    };
    let Some(mut probed) = Probed::attach(&path, &[], &[]) else {
        return;
    };
    let maps = probed.target.maps().expect("maps");
    assert!(maps.iter().any(|m| m.name == copy), "the copy is used");
    std::fs::remove_file(&copy).expect("removed");
    let linked = probed.link("between");
    if nix::unistd::geteuid().is_root() {
        linked.expect("root can read what is mapped");
    } else {
        let error = linked.expect_err("nobody else can");
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
    probed.victim.order("throw 100");
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

/// For a program in C, libc loads the unwinder when it is first needed.
#[test]
fn cancelled_threads_of_c_programs_clean_up() {
    if support::image().is_none() {
        return;
    }
    for (compiler, flags) in [
        ("gcc", &["-O2", "-pthread"][..]),
        ("gcc", &["-O2", "-pthread", "-fexceptions"]),
        ("gcc", &["-O2", "-pthread", "-static"]),
        ("musl-gcc", &["-O2", "-pthread", "-static"]),
    ] {
        let Some(path) = compile_by(compiler, "cancels.c", flags) else {
            continue;
        };
        let functions = ["waits", "inner", "outer"];
        let Some(mut probed) = Probed::attach(&path, &[], &functions) else {
            return;
        };
        let maps = probed.target.maps().expect("maps");
        let libc = maps
            .iter()
            .find(|m| m.execute && m.name.to_string_lossy().contains("/libc.so"));
        if let Some(libc) = libc {
            let libc = Module::open(&libc.name).expect("libc");
            let mut stopped = probed.target.stop().expect("stopped");
            let counters = Counters::new();
            let hooking = &mut probed.hooking;
            hooking
                .on_return(&mut stopped, &libc, "read", &counters)
                .expect("read");
        }
        probed.victim.order("cancel 100");
        assert_eq!(probed.returns(), [0, 0, 0], "{compiler} {flags:?}");
        probed.end();
    }
}
