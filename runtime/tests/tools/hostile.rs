//! A tool that makes nonsensical calls harms nobody but itself.

use std::time::SystemTime;

use crate::Skipped;
use crate::stage::{Stage, finish};

/// Rounds of random calls, four threads each. The seed can be set with `BPFTIME_SEED`.
const ROUNDS: u64 = 5;
const CALLS: &str = "3000";

/// The same broker answers after many random calls, and nothing of theirs is left.
pub(crate) fn the_broker_survives_random_calls() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("hostile")?;
    let ask = |what: &str| {
        let output = finish(&mut stage.bpftime(&[what]));
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<u32>()
            .expect("a number")
    };
    let first = finish(&mut stage.bpftime(&["load", "true"]));
    assert!(first.status.success(), "{first:?}");
    let broker = ask("broker-pid");
    assert_ne!(broker, 0);
    let seed = std::env::var("BPFTIME_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let now = || {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(1, |elapsed| elapsed.as_secs())
    };
    let seed = seed.unwrap_or_else(now);
    for round in seed..seed + ROUNDS {
        let output = finish(&mut stage.bpftime(&["load", "./hostile", &round.to_string(), CALLS]));
        assert_eq!(
            output.status.code(),
            Some(0),
            "BPFTIME_SEED={round}: {output:?}"
        );
        assert_eq!(
            ask("broker-pid"),
            broker,
            "BPFTIME_SEED={round}: the broker has died"
        );
    }
    assert_eq!(ask("maps"), 0, "BPFTIME_SEED={seed}");
    Ok(())
}
