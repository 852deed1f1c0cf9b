//! Builds the programs of `tests/c` and runs a tool and a victim together.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bpftime_tests::paths;
use bpftime_tests::process::{Running, Stage, ended};

/// Longest time for anything that is to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What runs the programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// `bpftime load` and `bpftime start`, as an ordinary user.
    Ours,
    /// The kernel, with the tool run by root; the victim is an ordinary user's.
    Kernel,
}

/// A stage with the tools and victims of `tests/c` in it.
pub(crate) struct Lab {
    pub stage: Stage,
}

/// What a tool and a victim printed, line by line.
#[derive(Debug)]
pub(crate) struct Report {
    pub tool: Vec<String>,
    pub victim: Vec<String>,
}

impl Report {
    /// The number after a word in the tool's output.
    pub(crate) fn number(&self, word: &str) -> i64 {
        number(&self.tool, word)
    }

    /// The victim's process id, which follows its name in its first line.
    pub(crate) fn victim_pid(&self) -> i64 {
        let word = self.victim[0].split(' ').next().expect("a name");
        number(&self.victim, word)
    }

    /// The tool's lines that do not depend on where and when it ran.
    fn comparable(&self) -> Vec<&str> {
        let varies = ["pid ", "latency-us ", "shortest-us ", "address "];
        self.tool
            .iter()
            .map(String::as_str)
            .filter(|line| !varies.iter().any(|start| line.starts_with(start)))
            .collect()
    }
}

/// The number after a word.
pub(crate) fn number(lines: &[String], word: &str) -> i64 {
    lines
        .iter()
        .find_map(|line| {
            let mut words = line.split([' ', ':']).skip_while(|found| *found != word);
            words.nth(1)?.parse().ok()
        })
        .unwrap_or_else(|| panic!("no number after {word:?} in {lines:?}"))
}

impl Lab {
    /// Builds what is not built and copies the named programs to a new stage.
    pub(crate) fn new(programs: &[&str]) -> Self {
        let built = build();
        let stage = Stage::new();
        for program in programs {
            stage.copy(&built.join(program));
        }
        Self { stage }
    }

    /// Starts a tool and waits until it says that it is attached.
    pub(crate) fn tool(&self, way: Way, words: &[&str]) -> Running {
        let tool = self.start_tool(way, words);
        self.await_attached(&tool, words);
        tool
    }

    fn start_tool(&self, way: Way, words: &[&str]) -> Running {
        match way {
            Way::Ours => {
                let mut all = vec!["load"];
                all.extend(words);
                self.stage.start("bpftime", &all)
            }
            Way::Kernel => Running::start(
                Command::new(self.stage.path().join(words[0]))
                    .args(&words[1..])
                    .current_dir(self.stage.path()),
            ),
        }
    }

    fn await_attached(&self, tool: &Running, words: &[&str]) {
        assert_eq!(
            tool.line(SOON).as_deref(),
            Some("attached"),
            "{words:?} does not attach"
        );
    }

    /// Starts a victim, probed from its first instruction.
    pub(crate) fn victim(&self, way: Way, words: &[&str]) -> Running {
        match way {
            Way::Ours => {
                let mut all = vec!["start"];
                all.extend(words);
                self.stage.start("bpftime", &all)
            }
            Way::Kernel => self.stage.start(words[0], &words[1..]),
        }
    }

    /// Tells tools that wait for the file `end` to print and to end.
    pub(crate) fn end(&self) {
        File::create(self.stage.path().join("end")).expect("a file");
    }

    /// Runs a tool, then a victim to its end, then lets the tool end.
    pub(crate) fn observe(&self, way: Way, tool: &[&str], victim: &[&str]) -> Report {
        let tool = self.tool(way, tool);
        self.report(tool, self.victim(way, victim))
    }

    /// Waits for the victim's end, then for the tool's.
    pub(crate) fn report(&self, tool: Running, victim: Running) -> Report {
        let victim = finished(victim);
        self.end();
        let tool = finished(tool);
        std::fs::remove_file(self.stage.path().join("end")).expect("it was made");
        Report { tool, victim }
    }

    /// Observes with ours and, where that is allowed, with the kernel: both print the same.
    pub(crate) fn compare(&self, tool: &[&str], victim: &[&str]) -> Report {
        let ours = self.observe(Way::Ours, tool, victim);
        if kernel_allows() {
            let kernel = self.observe(Way::Kernel, tool, victim);
            assert_eq!(
                ours.comparable(),
                kernel.comparable(),
                "ours and the kernel's"
            );
        }
        ours
    }
}

/// All lines of a process that succeeds.
pub(crate) fn finished(running: Running) -> Vec<String> {
    let (lines, status) = running.finish(SOON);
    assert!(status.success(), "{}: {lines:?}", ended(status));
    lines
}

/// Whether this user may attach uprobes with the kernel; prints why not.
pub(crate) fn kernel_allows() -> bool {
    // SAFETY: no precondition; the call only reads the process's credentials.
    let root = unsafe { libc::geteuid() } == 0;
    let uprobes = std::path::Path::new("/sys/bus/event_source/devices/uprobe/type").exists();
    if !root || !uprobes {
        eprintln!(
            "skipped: comparison with the kernel, which needs root (here: {root}) and uprobes \
             (here: {uprobes})"
        );
    }
    root && uprobes
}

/// Builds the programs of `tests/c` in a folder that the tests share; returns that folder.
fn build() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tools-c");
    std::fs::create_dir_all(&folder).expect("a folder");
    let lock = File::create(folder.join("lock")).expect("a file");
    // Tests run in several processes at once; the lock is given back when the file is closed.
    lock.lock().expect("a lock");
    let output = Command::new("make")
        .args(["-s", "-f"])
        .arg(paths::workspace().join("tests/c/Makefile"))
        .current_dir(&folder)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .expect("make runs");
    assert!(
        output.status.success(),
        "tests/c does not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}
