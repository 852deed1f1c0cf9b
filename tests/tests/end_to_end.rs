//! The quick start, as an ordinary user: a stock libbpf tool counts in processes that know nothing
//! of it.

use std::time::Duration;

use bpftime_tests::process::{Running, Stage, ended, eventually};

const SOON: Duration = Duration::from_secs(20);

/// Starts `bpftime load ./malloc SECONDS` and waits until its probe is attached.
fn load_malloc(stage: &Stage, seconds: &str) -> Running {
    let tool = stage.start("bpftime", &["load", "./malloc", seconds]);
    eventually(SOON, || {
        let status = stage.status();
        status["links"]
            .as_array()
            .is_some_and(|links| !links.is_empty())
            .then_some(())
    })
    .expect("the tool attaches");
    tool
}

/// The victim's own count: calls and bytes of its last line.
fn victims_count(lines: &[String]) -> (u64, u64) {
    let line = lines
        .iter()
        .rfind(|line| line.starts_with("victim "))
        .expect("the victim's line");
    assert!(line.ends_with(" 0 wrong"), "{line}");
    let numbers: Vec<u64> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[1], numbers[2])
}

/// Calls and bytes that the tool's last table shows for the process.
fn counted(lines: &[String], pid: u32) -> Option<(u64, u64)> {
    lines.iter().rev().find_map(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        (numbers.len() == 3 && numbers[0] == u64::from(pid)).then(|| (numbers[1], numbers[2]))
    })
}

/// The probed function's first bytes in the process, which only a tracer may read.
fn first_bytes_of_malloc(pid: u32) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    let line = maps
        .lines()
        .find(|line| line.contains("r-xp") && line.contains("libc.so.6"))
        .expect("libc is mapped");
    let start = u64::from_str_radix(line.split('-').next().expect("an address"), 16).expect("hex");
    let offset = line.split_whitespace().nth(2).expect("an offset");
    let offset = u64::from_str_radix(offset, 16).expect("hex");
    let path = line.split_whitespace().last().expect("a path");
    let output = std::process::Command::new("nm")
        .args(["-D", "--defined-only", path])
        .output()
        .expect("nm runs");
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    let symbol = symbols
        .lines()
        .find(|line| {
            line.split_whitespace()
                .nth(2)
                .is_some_and(|name| name.starts_with("malloc@"))
        })
        .expect("libc has malloc");
    let address =
        u64::from_str_radix(symbol.split(' ').next().expect("an address"), 16).expect("hex");
    // libc's text has the same file offset and address, as `readelf -lW` shows.
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("may read memory");
    memory
        .seek(SeekFrom::Start(start + address - offset))
        .expect("an address");
    let mut bytes = vec![0; 16];
    memory.read_exact(&mut bytes).expect("mapped");
    bytes
}

#[test]
fn counts_malloc_in_a_started_process() {
    let stage = Stage::new();
    let tool = load_malloc(&stage, "4");
    let started = stage.start("bpftime", &["start", "./victim", "1.5", "3", "1000"]);
    let shown = eventually(SOON, || {
        let status = stage.status();
        let target = status["targets"].as_array()?.first()?;
        let hook = target["hooks"].as_array()?.first()?;
        (hook["attached"] == true).then(|| target["command"].as_str().map(str::to_owned))?
    });
    assert_eq!(
        shown.as_deref(),
        Some("./victim 1.5 3 1000"),
        "{}",
        stage.status()
    );
    let (lines, status) = started.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    let (calls, bytes) = victims_count(&lines);
    assert_eq!(calls, 3 * 1500);
    let pid: u32 = lines
        .last()
        .expect("a line")
        .split([' ', ':'])
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let (lines, status) = tool.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    let (seen_calls, seen_bytes) = counted(&lines, pid).expect("the process is in the table");
    // The C library allocates a little of its own: standard output's buffer, thread stacks' lists.
    assert!(
        (calls..calls + 64).contains(&seen_calls),
        "{seen_calls} counted, {calls} made"
    );
    assert!(seen_bytes >= bytes, "{seen_bytes} counted, {bytes} made");
}

#[test]
fn attaches_to_a_running_process_and_leaves_it_as_it_was() {
    let stage = Stage::new();
    let mut victim = stage.start("victim", &["4", "4", "2000"]);
    std::thread::sleep(Duration::from_millis(200));
    let before = first_bytes_of_malloc(victim.pid());
    let mut tool = load_malloc(&stage, "10");
    let attached = stage.bpftime(&["attach", &victim.pid().to_string()]);
    assert!(attached.status.success(), "{}", attached.stderr);
    assert_ne!(
        first_bytes_of_malloc(victim.pid()),
        before,
        "nothing is patched"
    );
    std::thread::sleep(Duration::from_millis(1500));
    let detached = stage.bpftime(&["detach", &victim.pid().to_string()]);
    assert!(detached.status.success(), "{}", detached.stderr);
    assert_eq!(
        first_bytes_of_malloc(victim.pid()),
        before,
        "the bytes are not the original's"
    );
    assert!(victim.runs());
    let dump = stage.bpftime(&["map", "dump", "by_pid", "--json"]);
    assert!(dump.status.success(), "{}", dump.stderr);
    let pid = victim.pid();
    let (lines, status) = victim.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    let (calls, _) = victims_count(&lines);
    tool.signal(libc::SIGINT);
    assert!(tool.wait(SOON).success());
    let table: Vec<String> = std::iter::from_fn(|| tool.line(Duration::from_millis(100))).collect();
    let (seen, _) = counted(&table, pid).expect("the process is in the table");
    assert!(
        seen > 1000 && seen < calls,
        "{seen} of {calls} counted while attached"
    );
}

#[test]
fn verify_tells_by_its_exit_code() {
    let stage = Stage::new();
    let accepted = stage.bpftime(&["verify", "malloc.bpf.o"]);
    assert_eq!(
        accepted.status.code(),
        Some(0),
        "{}{}",
        accepted.stdout,
        accepted.stderr
    );
    let unreadable = stage.bpftime(&["verify", "victim"]);
    assert_eq!(
        unreadable.status.code(),
        Some(2),
        "{}{}",
        unreadable.stdout,
        unreadable.stderr
    );
    let missing = stage.bpftime(&["verify", "no-such-file.o"]);
    assert_eq!(
        missing.status.code(),
        Some(2),
        "{}{}",
        missing.stdout,
        missing.stderr
    );
}

#[test]
fn runs_the_xdp_example_on_a_capture() {
    const DROP: u64 = 1;
    const PASS: u64 = 2;
    let stage = Stage::new();
    let arguments = [
        "run",
        "drop.bpf.o",
        "--packet",
        "in.pcap",
        "--repeat",
        "100",
        "--json",
    ];
    let finished = stage.bpftime(&arguments);
    assert!(finished.status.success(), "{}", finished.stderr);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("valid JSON");
    let results: Vec<u64> = report["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|packet| packet["return_value"].as_u64().expect("a number"))
        .collect();
    // UDP to port 9 over IPv4, to 53, the same over IPv6, and ARP.
    assert_eq!(results, [DROP, PASS, DROP, PASS, PASS]);
}

/// The same tool, run by root on a kernel with eBPF, counts the same.
#[test]
fn the_kernel_counts_the_same() {
    let stage = Stage::new();
    let native = |name: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(stage.path().join(name));
        Running::start(command.current_dir(stage.path()).args(arguments))
    };
    let tool = native("malloc", &["6"]);
    // Its first table: it is attached, or has failed and says nothing.
    tool.line(SOON);
    let victim = native("victim", &["0.5", "2", "1000"]);
    let pid = victim.pid();
    let (lines, status) = victim.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    let (calls, bytes) = victims_count(&lines);
    let (table, status) = tool.finish(SOON);
    if !status.success() {
        eprintln!("skipped: this user may not use the kernel's uprobes");
        return;
    }
    let on_kernel = counted(&table, pid).expect("the process is in the kernel's table");

    let tool = load_malloc(&stage, "6");
    let started = stage.start("bpftime", &["start", "./victim", "0.5", "2", "1000"]);
    let (lines, status) = started.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    assert_eq!(victims_count(&lines), (calls, bytes));
    let pid: u32 = lines
        .last()
        .expect("a line")
        .split([' ', ':'])
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let (table, status) = tool.finish(SOON);
    assert!(status.success(), "{}", ended(status));
    assert_eq!(counted(&table, pid), Some(on_kernel));
}
