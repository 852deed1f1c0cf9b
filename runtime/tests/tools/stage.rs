//! A folder of an ordinary user's with this program, compiled C programs and a broker of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::Skipped;

/// The user and group that tools run as when the tests run as root.
const NOBODY: u32 = 65534;

pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/c")
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bpftime-runtime-")
            .tempdir()
            .expect("a folder");
        let stage = Self { folder };
        stage.give(stage.path());
        let own = std::env::current_exe().expect("a path");
        // By another process: one that a thread of this one starts meanwhile would hold the copy
        // open for writing for a moment, and then it cannot be executed.
        let copied = Command::new("cp")
            .arg(own)
            .arg(stage.path().join("bpftime"))
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "cp");
        stage.give(&stage.path().join("bpftime"));
        let run = stage.path().join("run");
        std::fs::create_dir(&run).expect("a folder");
        stage.give(&run);
        std::fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).expect("permissions");
        stage
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn give(&self, path: &Path) {
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may change owners");
        }
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("permissions");
    }

    fn compile(
        &self,
        compiler: &str,
        arguments: &[&str],
        from: &str,
        to: &str,
    ) -> Result<(), Skipped> {
        let to = self.path().join(to);
        let mut command = Command::new(compiler);
        command
            .arg("-o")
            .arg(&to)
            .arg(sources().join(from))
            .args(arguments);
        match command.status() {
            Ok(status) => assert!(status.success(), "{from} does not compile"),
            Err(error) => return Err(Skipped(format!("{compiler}: {error}"))),
        }
        self.give(&to);
        Ok(())
    }

    /// Compiles a C program.
    pub(crate) fn program(&self, name: &str) -> Result<(), Skipped> {
        let arguments = ["-O1", "-Wall", "-Wextra", "-pthread", "-lbpf"];
        self.compile("gcc", &arguments, &format!("{name}.c"), name)
    }

    /// Compiles a library, `NAME.so`.
    pub(crate) fn library(&self, name: &str) -> Result<(), Skipped> {
        let arguments = ["-O1", "-Wall", "-Wextra", "-shared", "-fPIC"];
        self.compile(
            "gcc",
            &arguments,
            &format!("{name}.c"),
            &format!("{name}.so"),
        )
    }

    /// Compiles an eBPF program.
    pub(crate) fn object(&self, name: &str) -> Result<(), Skipped> {
        const NAMES: [&str; 7] = [
            "clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14",
        ];
        let found = |name: &&&str| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let clang = NAMES
            .iter()
            .find(found)
            .ok_or_else(|| Skipped("no clang".to_owned()))?;
        let arguments = [
            "-target",
            "bpf",
            "-g",
            "-O2",
            "-c",
            "-D__TARGET_ARCH_x86",
            "-I/usr/include/x86_64-linux-gnu",
        ];
        self.compile(
            clang,
            &arguments,
            &format!("{name}.bpf.c"),
            &format!("{name}.bpf.o"),
        )
    }

    /// A command in the folder, as the ordinary user, with this stage's broker.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env("BPFTIME_RUNTIME_DIR", self.path().join("run"))
            .env_remove("RUST_LOG");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// This program with a subcommand.
    pub(crate) fn bpftime(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.path().join("bpftime"));
        command.args(arguments);
        command
    }
}

/// Runs to the end.
pub(crate) fn finish(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A process that is talked to. Ended when dropped.
pub(crate) struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let input = child.stdin.take();
        Self {
            child,
            input,
            output,
        }
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Sends one byte.
    pub(crate) fn poke(&mut self) {
        use std::io::Write;
        self.input
            .as_mut()
            .expect("open")
            .write_all(b"\n")
            .expect("it reads");
    }

    /// Ends its standard input, which tells it to go on to its end.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Interrupts it, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn code(mut self) -> Option<i32> {
        self.hang_up();
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
