//! Whoever is killed, and whenever, the victim runs on and computes what it should.
//!
//! Fifty kills by default; `BPFTIME_LONG=1` makes it a thousand. The seed is printed and can be set
//! with `BPFTIME_SEED`.

use std::time::{Duration, SystemTime};

use bpftime_tests::process::{Running, Stage, ended, eventually};

/// A small generator of our own: the test must not depend on what it tests, and the seed must
/// mean the same everywhere (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Clone, Copy, Debug)]
enum Party {
    Load,
    Start,
    Attach,
    Tool,
    Guardian,
    Broker,
}

const PARTIES: [Party; 6] = [
    Party::Load,
    Party::Start,
    Party::Attach,
    Party::Tool,
    Party::Guardian,
    Party::Broker,
];

/// Processes of this stage whose command line satisfies the check.
fn processes(stage: &Stage, check: impl Fn(&[&str]) -> bool) -> Vec<i32> {
    let folder = stage.path().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !String::from_utf8_lossy(&environment).contains(&folder) {
            continue;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.split('\0').filter(|word| !word.is_empty()).collect();
        if check(&words) {
            found.push(pid);
        }
    }
    found
}

/// The processes that play the party, the command-line ones by their own handle.
fn pids_of(stage: &Stage, party: Party) -> Vec<i32> {
    processes(stage, |words| {
        let program = words
            .first()
            .map_or("", |word| word.rsplit('/').next().unwrap_or(word));
        // Broker and guardian are the command itself, started again as `/proc/self/exe`.
        let ours = matches!(program, "bpftime" | "exe");
        let sub = words.get(1).copied().unwrap_or("");
        match party {
            Party::Load => ours && sub == "load",
            Party::Start => ours && sub == "start",
            Party::Attach => ours && sub == "attach",
            Party::Tool => program == "malloc",
            Party::Guardian => ours && sub == "guardian",
            Party::Broker => ours && sub == "broker",
        }
    })
}

/// The victim's last line: it ran to its end and found its memory as it wrote it.
fn victim_line(running: &Running) -> Option<String> {
    eventually(Duration::from_secs(20), || {
        running
            .line(Duration::from_millis(100))
            .filter(|line| line.starts_with("victim "))
    })
}

/// Gives the party's index and how many processes of it were killed.
fn one_round(stage: &Stage, random: &mut Random, round: u64) -> (usize, usize) {
    let index = random.below(PARTIES.len() as u64) as usize;
    let party = PARTIES[index];
    let delay = Duration::from_micros(random.below(120_000));
    let plain = stage.start("victim", &["0.4", "2", "2000"]);
    let tool = stage.start("bpftime", &["load", "./malloc", "1"]);
    // Sometimes the tool is attached first, sometimes all comes at once.
    std::thread::sleep(Duration::from_micros(random.below(100_000)));
    let mut started = stage.start("bpftime", &["start", "./victim", "0.3", "2", "2000"]);
    let attach = stage.start("bpftime", &["attach", &plain.pid().to_string()]);
    std::thread::sleep(delay);
    // Looked at before the kill: what runs by then must run to its end.
    let runs = !processes(stage, |words| {
        words.first().is_some_and(|word| word.ends_with("victim")) && words.get(1) == Some(&"0.3")
    })
    .is_empty();
    let killed = pids_of(stage, party);
    for pid in &killed {
        // SAFETY: kill reads no memory; the process is one that this stage started.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    let context = format!("round {round}: {party:?} {killed:?} killed after {delay:?}");
    // A victim under `bpftime start` may not exist yet when its starter is killed.
    let started_line = victim_line(&started);
    if runs || !matches!(party, Party::Start) {
        let line = started_line
            .unwrap_or_else(|| panic!("{context}: no started victim: {}", started.state()));
        assert!(line.ends_with(" 0 wrong"), "{context}: {line}");
    } else if let Some(line) = started_line {
        assert!(line.ends_with(" 0 wrong"), "{context}: {line}");
    }
    let (lines, status) = plain.finish(Duration::from_secs(20));
    assert!(
        status.success(),
        "{context}: the plain victim ended with {}",
        ended(status)
    );
    let line = lines
        .last()
        .unwrap_or_else(|| panic!("{context}: the plain victim said nothing"));
    assert!(line.ends_with(" 0 wrong"), "{context}: {line}");
    drop((tool, attach));
    (index, killed.len())
}

#[test]
fn victims_survive_any_kill() {
    let rounds = if std::env::var_os("BPFTIME_LONG").is_some() {
        1000
    } else {
        50
    };
    let seed = std::env::var("BPFTIME_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| {
            SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(1, |elapsed| elapsed.as_nanos() as u64)
                | 1
        });
    eprintln!("BPFTIME_SEED={seed}");
    let mut random = Random(seed);
    let stage = Stage::new();
    let mut killed = [0; PARTIES.len()];
    for round in 0..rounds {
        let (party, count) = one_round(&stage, &mut random, round);
        killed[party] += count;
    }
    eprintln!(
        "killed: {:?}",
        PARTIES.iter().zip(killed).collect::<Vec<_>>()
    );
    // In a short run a party may always have ended before its turn.
    let missed = killed.iter().filter(|count| **count == 0).count();
    assert!(
        missed <= usize::from(rounds < 1000),
        "parties never killed: {killed:?}"
    );
}
