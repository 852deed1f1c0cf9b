//! Victims for tests, made with the C compiler, and tests that run again as another user.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A user without any privilege.
const NOBODY: u32 = 65534;

/// A folder that every user can read.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        remove_old_folders();
        let user = nix::unistd::geteuid().as_raw();
        let path =
            std::env::temp_dir().join(format!("bpftime-attach-{user}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary folder");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("mode");
        path
    })
}

/// Removes folders of test runs that have ended.
fn remove_old_folders() {
    for entry in std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix("bpftime-attach-")
            .and_then(|rest| rest.split('-').nth(1));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another user's stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// How a victim is linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    Dynamic,
    Static,
    Musl,
}

/// Compiles `tests/victims/NAME.c`; `None` (with a message) if the compiler is not there.
pub(crate) fn compile(name: &str, link: Link, extra: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/attach/victims")
        .join(format!("{name}.c"));
    let unique =
        format!("{name}-{link:?}-{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let output = folder().join(unique);
    let (compiler, flags): (_, &[&str]) = match link {
        Link::Dynamic => ("gcc", &[]),
        Link::Static => ("gcc", &["-static"]),
        Link::Musl => ("musl-gcc", &["-static"]),
    };
    let result = Command::new(compiler)
        .args(["-O2", "-g", "-Wall", "-Wextra", "-pthread", "-o"])
        .arg(&output)
        .arg(&source)
        .args(flags)
        .args(extra)
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

/// Compiles with other flags; `None` if that fails.
pub(crate) fn compile_with(name: &str, compiler: &str, flags: &[&str]) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/attach/victims")
        .join(format!("{name}.c"));
    let output = folder().join(format!("{name}-{}", flags.join("")));
    let mut command = Command::new(compiler);
    command
        .args(["-O2", "-pthread", "-o"])
        .arg(&output)
        .arg(source)
        .args(flags);
    command
        .output()
        .is_ok_and(|result| result.status.success())
        .then_some(output)
}

/// A running victim.
pub(crate) struct Victim {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Victim {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(path: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("victim starts");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).expect("victim speaks");
        assert_eq!(line, "ready\n");
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("victim can be waited for")
            .is_some()
    }

    /// Tells a victim that runs until it is told, and waits for the end.
    pub(crate) fn end(self) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.pid()),
            nix::sys::signal::SIGTERM,
        )
        .expect("victim is there");
        self.must_be_right();
    }

    /// Waits for the end, which must be the right one.
    pub(crate) fn must_be_right(mut self) {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output
            .read_to_string(&mut text)
            .expect("victim speaks");
        let status = self.child.wait().expect("victim ends");
        assert!(status.success(), "victim: {status}");
        assert_eq!(text, "right\n");
    }

    /// Sends a line and waits for the answer.
    pub(crate) fn order(&mut self, line: &str) {
        use std::io::Write;
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{line}").expect("victim listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("victim speaks");
        assert_eq!(answer, "done\n", "after {line}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs one test of this file again in a new process.
pub(crate) fn rerun(test: &str) -> Command {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    let copy = COPY.get_or_init(|| {
        // The target folder may be closed to other users.
        let copy = folder().join("rerun");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).expect("copy");
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("mode");
        copy
    });
    let mut command = Command::new(copy);
    let image = folder().join("bpftime-image");
    if image.exists() {
        command.env("BPFTIME_TEST_IMAGE", image);
    }
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// Runs the test once more as a user without privilege, if we are root. True in the inner run.
pub(crate) fn also_as_nobody(test: &str) -> bool {
    const MARK: &str = "BPFTIME_TEST_AS_NOBODY";
    if std::env::var_os(MARK).is_some() {
        assert_eq!(nix::unistd::geteuid().as_raw(), NOBODY);
        return true;
    }
    if nix::unistd::geteuid().as_raw() != 0 {
        return false;
    }
    let status = rerun(test)
        .env(MARK, "1")
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .expect("runs again");
    assert!(status.success(), "as uid {NOBODY}: {status}");
    false
}

/// Iterations of a test that is random: few by default, many with `BPFTIME_LONG=1`.
pub(crate) fn iterations(short: u32, long: u32) -> u32 {
    if std::env::var("BPFTIME_LONG").is_ok_and(|v| v == "1") {
        long
    } else {
        short
    }
}

/// The in-target image, built once; `None` (with a message) if it cannot be built here.
pub(crate) fn image() -> Option<Vec<u8>> {
    const NAME: &str = "bpftime-image";
    if let Some(path) = std::env::var_os("BPFTIME_TEST_IMAGE") {
        return Some(std::fs::read(path).expect("image"));
    }
    static IMAGE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    IMAGE
        .get_or_init(|| {
            const TARGET: &str = "x86_64-unknown-none";
            let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/image");
            let target_folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
            let result = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--release",
                    "--quiet",
                    "--target",
                    TARGET,
                    "--target-dir",
                ])
                .arg(&target_folder)
                .current_dir(crate_folder)
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .output()
                .expect("cargo runs");
            if !result.status.success() {
                let text = String::from_utf8_lossy(&result.stderr);
                assert!(text.contains("may not be installed"), "{text}");
                println!("skipped: rustup target add {TARGET} is needed");
                return None;
            }
            let bytes = std::fs::read(target_folder.join(TARGET).join("release").join(NAME))
                .expect("image");
            // For tests that run again as somebody who cannot build.
            std::fs::write(folder().join(NAME), &bytes).expect("copy");
            Some(bytes)
        })
        .clone()
}
