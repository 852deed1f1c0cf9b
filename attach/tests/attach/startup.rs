//! Programs are hooked before their first own instruction.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use crate::exceptions::compile_by;
use crate::hooking::{Counters, Hooking};
use crate::support::Link;
use bpftime_attach::inject::{Image, Module, When};
use bpftime_attach::{Error, Startup, Target, detach};
use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

/// A process that runs a program once a byte comes through the pipe.
struct Waiting {
    pid: i32,
    go: Option<std::fs::File>,
    output: std::fs::File,
}

impl Waiting {
    fn new(path: &Path, args: &[&str]) -> Self {
        let (go_here, go) = pipe2(OFlag::O_CLOEXEC).expect("pipe");
        let (output, output_there) = pipe2(OFlag::O_CLOEXEC).expect("pipe");
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let args: Vec<CString> = args.iter().map(|a| CString::new(*a).unwrap()).collect();
        let mut argv = vec![path.as_ptr()];
        argv.extend(args.iter().map(|a| a.as_ptr()));
        argv.push(std::ptr::null());
        // SAFETY: the child makes only system calls.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: descriptors and C strings of the parent, which the child has copies of.
            unsafe {
                libc::close(go.as_raw_fd());
                let mut byte = 0_u8;
                libc::read(go_here.as_raw_fd(), (&raw mut byte).cast(), 1);
                libc::dup2(output_there.as_raw_fd(), 1);
                libc::execv(path.as_ptr(), argv.as_ptr());
                libc::_exit(127);
            }
        }
        Self {
            pid,
            go: Some(go.into()),
            output: output.into(),
        }
    }

    fn go(&mut self) {
        self.go.take().unwrap().write_all(b"g").unwrap();
    }

    fn end(mut self) -> (i32, String) {
        let status = match waitpid(Pid::from_raw(self.pid), None).expect("child") {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        };
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("output");
        (status, text)
    }
}

#[test]
fn hooked_from_the_first_call() {
    let Some(image) = crate::support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    crate::support::also_as_nobody("startup::hooked_from_the_first_call");
    for link in [Link::Dynamic, Link::Static, Link::Musl] {
        let Some(path) = crate::support::compile("starts", link, &[]) else {
            continue;
        };
        let module = Module::open(&path).expect("module");
        let mut waiting = Waiting::new(&path, &[]);
        let startup = Startup::seize(Target::open(waiting.pid).expect("target")).expect("seized");
        waiting.go();
        let (early, libc_calls) = (Counters::new(), Counters::new());
        let mut hooking: Option<Hooking> = None;
        let mut files = Vec::new();
        let target = startup
            .follow(|stopped, mappings| {
                for mapping in mappings {
                    files.push(mapping.name.clone());
                    if hooking.is_none() {
                        hooking = Some(Hooking::attach(stopped, &image)?);
                    }
                    let hooking = hooking.as_mut().unwrap();
                    if mapping.inode == module.id().inode {
                        hooking.link(stopped, &module, "early", When::Entry, &early)?;
                    } else if mapping.name.to_string_lossy().contains("libc.so") {
                        let libc = Module::open(&mapping.name).expect("libc");
                        hooking.link(stopped, &libc, "getenv", When::Return, &libc_calls)?;
                    }
                }
                Ok(())
            })
            .expect("followed");
        let libraries = files.len();
        drop(target);
        let (status, text) = waiting.end();
        assert_eq!((status, text.as_str()), (0, "right\n"), "{link:?}");
        // Once in a constructor, a hundred times in main.
        assert_eq!(early.calls(), 101, "{link:?}, files {files:?}");
        if link == Link::Dynamic {
            assert_eq!(libc_calls.calls(), 7);
            assert!(libraries >= 3, "{files:?}");
        }
    }
}

#[test]
fn returns_are_probed_once_the_unwinder_is_there() {
    let Some(image) = crate::support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    for flags in [&["-O2", "-pthread"][..], &["-O2", "-pthread", "-static"]] {
        let Some(path) = compile_by("g++", "throws.cc", flags) else {
            return;
        };
        let module = Module::open(&path).expect("module");
        let mut waiting = Waiting::new(&path, &["throw", "100"]);
        let startup = Startup::seize(Target::open(waiting.pid).expect("target")).expect("seized");
        waiting.go();
        let counters = Counters::new();
        let mut hooking: Option<Hooking> = None;
        let (mut linked, mut refusals) = (false, 0);
        let target = startup
            .follow(|stopped, _| {
                if hooking.is_none() {
                    hooking = Some(Hooking::attach(stopped, &image)?);
                }
                if let (Some(hooking), false) = (&mut hooking, linked) {
                    match hooking.link(stopped, &module, "between", When::Return, &counters) {
                        Ok(_) => linked = true,
                        Err(Error::MayUnwind { .. }) => refusals += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })
            .expect("followed");
        drop(target);
        let (status, text) = waiting.end();
        assert_eq!((status, text.as_str()), (0, "right\n"), "{flags:?}");
        assert!(linked, "{flags:?}");
        assert_eq!(refusals > 0, !flags.contains(&"-static"), "{flags:?}");
        assert_eq!(counters.calls(), 100, "{flags:?}");
    }
}

#[test]
fn a_failing_exec_is_seen() {
    let mut waiting = Waiting::new(Path::new("/nonexistent"), &[]);
    let startup = Startup::seize(Target::open(waiting.pid).expect("target")).expect("seized");
    waiting.go();
    let error = startup.follow(|_, _| Ok(())).unwrap_err();
    assert!(error.is_gone(), "{error}");
}

/// Not a test by itself: follows and hooks, and is killed.
#[test]
fn role_of_a_starter() {
    let Ok(pid) = std::env::var("BPFTIME_TEST_START") else {
        return;
    };
    let path = std::env::var("BPFTIME_TEST_VICTIM").unwrap();
    let image = Image::parse(&crate::support::image().unwrap()).expect("image");
    let module = Module::open(Path::new(&path)).expect("module");
    let startup =
        Startup::seize(Target::open(pid.parse().unwrap()).expect("target")).expect("seized");
    println!("seized");
    let counters = Counters::new();
    let mut hooking: Option<Hooking> = None;
    let _ = startup.follow(|stopped, mappings| {
        for mapping in mappings {
            if hooking.is_none() {
                hooking = Some(Hooking::attach(stopped, &image)?);
            }
            if mapping.inode == module.id().inode {
                let hooking = hooking.as_mut().unwrap();
                hooking.link(stopped, &module, "early", When::Return, &counters)?;
            }
        }
        Ok(())
    });
    std::thread::sleep(Duration::from_secs(10));
}

#[test]
fn starter_may_be_killed_at_any_moment() {
    use rand::Rng;
    if crate::support::image().is_none() {
        return;
    }
    crate::support::also_as_nobody("startup::starter_may_be_killed_at_any_moment");
    let Some(path) = crate::support::compile("starts", Link::Dynamic, &[]) else {
        return;
    };
    for round in 0..crate::support::iterations(50, 1000) {
        let mut waiting = Waiting::new(&path, &[]);
        let mut starter = crate::support::rerun("startup::role_of_a_starter")
            .env("BPFTIME_TEST_START", waiting.pid.to_string())
            .env("BPFTIME_TEST_VICTIM", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("starter");
        let mut output = std::io::BufReader::new(starter.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("seized") {
            line.clear();
            let read = std::io::BufRead::read_line(&mut output, &mut line).expect("output");
            assert!(read > 0, "the starter failed in round {round}");
        }
        waiting.go();
        std::thread::sleep(Duration::from_micros(rand::rng().random_range(0..20_000)));
        starter.kill().expect("killed");
        starter.wait().expect("starter");
        let (status, text) = waiting.end();
        assert_eq!((status, text.as_str()), (0, "right\n"), "in round {round}");
    }
}

#[test]
fn nothing_stays_of_a_program_that_was_started() {
    let Some(image) = crate::support::image() else {
        return;
    };
    let image = Image::parse(&image).expect("image");
    let Some(path) = crate::support::compile("busy", Link::Dynamic, &[]) else {
        return;
    };
    let module = Module::open(&path).expect("module");
    let mut waiting = Waiting::new(&path, &["1000", "hot", "nanosleep"]);
    let startup = Startup::seize(Target::open(waiting.pid).expect("target")).expect("seized");
    waiting.go();
    let counters = Counters::new();
    let mut hooking: Option<Hooking> = None;
    let target = startup
        .follow(|stopped, mappings| {
            if hooking.is_none() && mappings.iter().any(|m| m.inode == module.id().inode) {
                let mut new = Hooking::attach(stopped, &image)?;
                new.link(stopped, &module, "hot", When::Return, &counters)?;
                hooking = Some(new);
            }
            Ok(())
        })
        .expect("followed");
    std::thread::sleep(Duration::from_millis(300));
    assert!(counters.calls() > 0);
    let done = detach(&target).expect("detached");
    assert!(done.was_attached && !done.code_left, "{done:?}");
    let (status, text) = waiting.end();
    assert_eq!((status, text.as_str()), (0, "ready\nright\n"));
}
