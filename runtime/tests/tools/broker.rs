//! The broker's own life: its clients, its beginning and its end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bpftime_runtime::client::socket;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

/// Sooner than a broker ends by itself.
const SOON: Duration = Duration::from_secs(6);

/// How long a broker of these tests waits for clients.
pub(crate) fn idle() -> Duration {
    let text = std::env::var("STAGE_IDLE_MS").ok();
    let number = text.and_then(|text| text.parse().ok());
    number.map_or(socket::IDLE, Duration::from_millis)
}

/// Asserts that a command has succeeded, and gives what it printed.
fn good(stage: &Stage, arguments: &[&str]) -> String {
    let output = finish(&mut stage.bpftime(arguments));
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whoever comes while a broker ends is served, by that one or by the next.
pub(crate) fn clients_meet_a_broker_that_ends() -> Result<(), Skipped> {
    const TIME: Duration = Duration::from_secs(5);
    let stage = Stage::new();
    let begun = Instant::now();
    let served = |pause: u64| {
        let mut brokers = BTreeSet::new();
        while begun.elapsed() < TIME {
            let mut command = stage.bpftime(&["load", "sh", "-c", "exit 3"]);
            let output = finish(command.env("STAGE_IDLE_MS", "0"));
            assert_eq!(output.status.code(), Some(3), "{output:?}");
            brokers.insert(good(&stage, &["broker-pid"]));
            std::thread::sleep(Duration::from_millis(pause));
        }
        brokers
    };
    let brokers: BTreeSet<String> = std::thread::scope(|scope| {
        let clients = [70, 110, 130].map(|pause| scope.spawn(move || served(pause)));
        let brokers = clients.map(|client| client.join().expect("served"));
        brokers.into_iter().flatten().collect()
    });
    assert!(brokers.len() > 1, "no broker has ended: {brokers:?}");
    Ok(())
}

/// What the hostile clients do, as the broker's own user: nonsense of every kind, and many at
/// once that say nothing.
pub(crate) fn clients() -> ExitCode {
    let connect = || {
        let stream = socket::connect().expect("a folder").expect("a broker");
        stream
            .set_read_timeout(Some(SOON))
            .expect("a time is accepted");
        stream
    };
    let frame = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let deep = "[".repeat(100_000);
    let nonsense: [Vec<u8>; 9] = [
        vec![],
        vec![7],
        u32::MAX.to_le_bytes().to_vec(),
        (2u32 << 20).to_le_bytes().to_vec(),
        100u32.to_le_bytes().to_vec(),
        frame(""),
        frame("{\"version\":1,\"request\":\"no_such\"}"),
        frame(&deep),
        frame("{\"version\":1,\"request\":{\"load\":{\"pid\":1,\"command\":[]}}}"),
    ];
    for bytes in &nonsense {
        let mut stream = connect();
        // A frame that is refused may be hung up on before all of it is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.contains("failed"), "{text}");
    }
    let silent: Vec<UnixStream> = (0..300).map(|_| connect()).collect();
    println!("{}", silent.len());
    // Until then they are all open.
    let _ = std::io::stdin().read(&mut [0]);
    ExitCode::SUCCESS
}

/// Nonsense on the socket, and hundreds of clients at once, harm nobody else.
pub(crate) fn bad_clients_end_their_connection_only() -> Result<(), Skipped> {
    let stage = Stage::new();
    good(&stage, &["load", "true"]);
    let broker = good(&stage, &["broker-pid"]);
    let mut clients = Talk::start(&mut stage.bpftime(&["clients"]));
    assert_eq!(clients.line(), "300");
    let begun = Instant::now();
    assert_eq!(good(&stage, &["broker-pid"]), broker);
    good(&stage, &["load", "true"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(clients.code(), Some(0));
    assert_eq!(good(&stage, &["broker-pid"]), broker);
    Ok(())
}

/// A broker that has no descriptors left serves again when there are some.
pub(crate) fn a_broker_out_of_descriptors_recovers() -> Result<(), Skipped> {
    let stage = Stage::new();
    let limited = "ulimit -n 60 && exec ./bpftime load true";
    let first = finish(stage.command("sh").args(["-c", limited]));
    assert!(first.status.success(), "{first:?}");
    let broker = good(&stage, &["broker-pid"]);
    let mut clients = Talk::start(&mut stage.bpftime(&["clients"]));
    assert_eq!(clients.line(), "300");
    assert_eq!(clients.code(), Some(0));
    let begun = Instant::now();
    assert_eq!(good(&stage, &["broker-pid"]), broker);
    good(&stage, &["load", "true"]);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    Ok(())
}

/// A pipe that the user's shell had open ends when the tool does, not when the broker does.
pub(crate) fn what_was_open_is_not_kept_open() -> Result<(), Skipped> {
    let stage = Stage::new();
    let script = "./bpftime load true 3>&1 2>&1 | cat";
    let (tell, hear) = mpsc::channel();
    let mut shell = stage.command("sh");
    shell.args(["-c", script]).stdin(Stdio::null());
    std::thread::spawn(move || tell.send(finish(&mut shell)));
    let output = hear.recv_timeout(SOON).expect("the pipe ends");
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// Names with spaces, folders that are not there, and a folder named relative to another one.
pub(crate) fn odd_places_are_places() -> Result<(), Skipped> {
    let stage = Stage::new();
    let script = "mkdir 'a b' && cp /bin/sh 'a b/my tool' && mkdir -m 700 'a b/run'";
    let made = finish(stage.command("sh").args(["-c", script]));
    assert!(made.status.success(), "{made:?}");
    let run = |folder: &str, command: &[&str]| {
        let mut command = stage.bpftime(&[&["load"], command].concat());
        command.env("BPFTIME_RUNTIME_DIR", folder);
        let output = finish(command.env("TMPDIR", "/no/such folder"));
        (output.status.code(), output)
    };
    let whole = stage.path().join("a b/run");
    let whole = whole.to_str().expect("text");
    for folder in [whole, "a b/run", "./a b/../a b/run"] {
        let (code, output) = run(folder, &["a b/my tool", "-c", "exit 9"]);
        assert_eq!(code, Some(9), "{folder}: {output:?}");
    }
    let long = stage.path().join("x".repeat(120));
    for folder in ["no/such/folder", long.to_str().expect("text")] {
        let (code, output) = run(folder, &["true"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    }
    Ok(())
}

/// `bpftime load` passes signals on, and ends as its tool does.
pub(crate) fn a_signal_for_load_is_the_tools() -> Result<(), Skipped> {
    let stage = Stage::new();
    let cases = [
        (
            "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done",
            5,
        ),
        (
            "trap 'exit 6' USR1; echo up; while :; do sleep 0.1; done",
            6,
        ),
        ("echo up; exec sleep 60", 128 + 15),
    ];
    for command in ["load", "start"] {
        for (script, code) in cases {
            let signal = if code == 6 {
                Signal::SIGUSR1
            } else {
                Signal::SIGTERM
            };
            let mut tool = Talk::start(&mut stage.bpftime(&[command, "sh", "-c", script]));
            assert_eq!(tool.line(), "up");
            kill(Pid::from_raw(tool.pid()), signal).expect("it runs");
            assert_eq!(tool.code(), Some(code), "{command} {script}");
        }
    }
    Ok(())
}
