//! A stopped process has no thread that runs.

use bpftime_attach::Target;

use crate::support::{Link, Victim, compile};

/// State of each thread, as procfs has it.
fn states(pid: i32) -> Vec<(i32, char)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let state = |tid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|tid| Some((tid, state(tid)?)))
        .collect()
}

/// However fast threads come and go, a stop has them all.
#[test]
fn a_stop_has_every_thread() {
    let Some(path) = compile("threads", Link::Dynamic, &[]) else {
        return;
    };
    let victim = Victim::start(&path, &[]);
    let target = Target::open(victim.pid()).expect("ours");
    let rounds = if std::env::var_os("BPFTIME_LONG").is_some() {
        20_000
    } else {
        500
    };
    let mut most = 0;
    for round in 0..rounds {
        let stopped = target.stop().expect("stops");
        let known: Vec<i32> = stopped.threads().iter().map(|t| t.tid()).collect();
        most = most.max(known.len());
        for (tid, state) in states(victim.pid()) {
            let dead = matches!(state, 'Z' | 'X');
            assert!(
                dead || (state == 't' && known.contains(&tid)),
                "{round}: thread {tid} is {state}, known: {known:?}"
            );
        }
    }
    assert!(most > 3, "{most} threads at most");
}
