//! Child processes, run as an ordinary user and ended when dropped.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::paths;

/// The user and group that end-to-end tests run as when the test runner is root.
const NOBODY: u32 = 65534;

/// A folder of an ordinary user's with copies of all that an end-to-end test runs, and the
/// broker that the commands started there share. Ends the broker when dropped.
pub struct Stage {
    folder: tempfile::TempDir,
    unprivileged: bool,
}

impl Stage {
    /// Copies the `bpftime` command and the built examples to a folder that the user may read.
    ///
    /// # Panics
    ///
    /// If something is not built; `make test` builds all of it.
    pub fn new() -> Self {
        // SAFETY: no precondition; the call only reads the process's credentials.
        let unprivileged = unsafe { libc::geteuid() } == 0;
        let folder = tempfile::Builder::new()
            .prefix("bpftime-test-")
            .tempdir()
            .expect("a folder");
        let stage = Self {
            folder,
            unprivileged,
        };
        stage.open_to_user(stage.path());
        let root = paths::workspace();
        stage.copy(&binary("bpftime"));
        for file in [
            "malloc/malloc",
            "malloc/malloc.bpf.o",
            "malloc/victim",
            "xdp/drop.bpf.o",
            "xdp/in.pcap",
        ] {
            stage.copy(&root.join("examples").join(file));
        }
        let run = stage.path().join("run");
        std::fs::create_dir(&run).expect("a folder");
        stage.open_to_user(&run);
        std::fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).expect("permissions");
        stage
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Copies a file into the folder, readable and executable for the user.
    pub fn copy(&self, file: &Path) -> PathBuf {
        let to = self.path().join(file.file_name().expect("a file name"));
        // By a process of its own: a child that another test's thread forks meanwhile would keep
        // the copy open for writing, and a file open for writing cannot be run.
        let copied = Command::new("cp").arg(file).arg(&to).status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "{} cannot be copied; `make examples` and `cargo build --workspace`",
            file.display()
        );
        self.open_to_user(&to);
        to
    }

    fn open_to_user(&self, path: &Path) {
        if self.unprivileged {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may change owners");
        }
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("permissions");
    }

    /// A command of the folder, as the ordinary user, with this stage's own broker.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.path().join(name));
        command
            .current_dir(self.path())
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("HOME", self.path())
            .env_remove("RUST_LOG");
        if self.unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Runs `bpftime` to its end.
    pub fn bpftime(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command("bpftime").args(arguments))
    }

    /// Starts a command whose standard output is read line by line.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Running {
        Running::start(self.command(name).args(arguments))
    }

    /// What `bpftime status --json` says.
    pub fn status(&self) -> serde_json::Value {
        let finished = self.bpftime(&["status", "--json"]);
        assert!(finished.status.success(), "{finished:?}");
        serde_json::from_str(&finished.stdout).expect("valid JSON")
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// The built binary beside the test's own.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.ancestors()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not built: run `cargo build --workspace` first"))
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("the command starts");
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process that runs; killed when dropped.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts the command with its standard output read in the background.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the command starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of output, or `None` after the time or at the end of output.
    pub fn line(&self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill reads no memory; the child is ours and not yet waited for.
        unsafe { libc::kill(self.pid().cast_signed(), signal) };
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If it has not ended within the time.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("ours to wait for") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "process {} has not ended",
                self.pid()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All lines up to the end of output, and how the process ended.
    pub fn finish(mut self, within: Duration) -> (Vec<String>, ExitStatus) {
        let status = self.wait(within);
        (self.lines.iter().collect(), status)
    }

    /// In words: that it runs, or how it ended.
    pub fn state(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => ended(status),
            Ok(None) => format!("process {} runs", self.pid()),
            Err(error) => error.to_string(),
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, in words for assertions.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// Repeats a check until it gives something, or `None` after the time.
pub fn eventually<T>(within: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
