//! Sums over programs that every verifier judged.

use serde::Serialize;

use crate::measure::quantile;

/// What one verifier says of one program, and what that cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measured {
    /// The verdict.
    pub(crate) accepted: bool,
    /// Median over the rounds: CPU time of the thread, or what the kernel says it took.
    pub(crate) micros: f64,
    /// Most bytes allocated at once, beyond what was before; not known of the kernel.
    pub(crate) bytes: Option<u64>,
    /// Most abstract states kept at once, as far as known.
    pub(crate) states: Option<u64>,
}

/// The verdicts on one program.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) section: String,
    pub(crate) function: String,
    pub(crate) instructions: usize,
    pub(crate) bpftime: Measured,
    pub(crate) kernel: Option<Measured>,
    pub(crate) prevail: Option<Measured>,
}

/// One verifier over a set of programs.
#[derive(Debug, Serialize)]
pub(crate) struct Total {
    verifier: &'static str,
    programs: usize,
    accepted: usize,
    sum_ms: f64,
    median_us: f64,
    p95_us: f64,
    worst_ms: f64,
    most_mib: Option<f64>,
}

/// Sums the verdicts of one verifier.
fn total(verifier: &'static str, measured: &[Measured]) -> Total {
    let micros: Vec<f64> = measured.iter().map(|one| one.micros).collect();
    let most = measured.iter().filter_map(|one| one.bytes).max();
    Total {
        verifier,
        programs: measured.len(),
        accepted: measured.iter().filter(|one| one.accepted).count(),
        sum_ms: micros.iter().sum::<f64>() / 1e3,
        median_us: quantile(&micros, 0.5),
        p95_us: quantile(&micros, 0.95),
        worst_ms: quantile(&micros, 1.0) / 1e3,
        most_mib: most.map(|bytes| bytes as f64 / f64::from(1 << 20)),
    }
}

/// Ours alone over all programs, then each pair over the programs that both judged.
pub(crate) fn totals(rows: &[Row]) -> Vec<(String, Vec<Total>)> {
    let all: Vec<Measured> = rows.iter().map(|row| row.bpftime).collect();
    let mut totals = vec![("all programs".to_owned(), vec![total("bpftime", &all)])];
    let mut pair = |name: &'static str, peer: fn(&Row) -> Option<Measured>| {
        let both: Vec<(Measured, Measured)> = rows
            .iter()
            .filter_map(|row| Some((row.bpftime, peer(row)?)))
            .collect();
        if both.is_empty() {
            return;
        }
        let (ours, theirs): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        let what = format!("programs that {name} judges too");
        totals.push((what, vec![total("bpftime", &ours), total(name, &theirs)]));
    };
    pair("kernel", |row| row.kernel);
    pair("prevail", |row| row.prevail);
    totals
}

/// Prints the totals as tables.
pub(crate) fn print(totals: &[(String, Vec<Total>)]) {
    for (what, lines) in totals {
        println!("\n{what}");
        println!(
            "{:<10} {:>8} {:>8} {:>11} {:>10} {:>10} {:>10} {:>9}",
            "verifier",
            "programs",
            "accepted",
            "sum ms",
            "median us",
            "p95 us",
            "worst ms",
            "most MiB"
        );
        for line in lines {
            let most = line
                .most_mib
                .map_or_else(|| "-".to_owned(), |most| format!("{most:.2}"));
            println!(
                "{:<10} {:>8} {:>8} {:>11.1} {:>10.1} {:>10.1} {:>10.2} {most:>9}",
                line.verifier,
                line.programs,
                line.accepted,
                line.sum_ms,
                line.median_us,
                line.p95_us,
                line.worst_ms,
            );
        }
        if let [ours, theirs] = lines.as_slice() {
            println!(
                "{} takes {:.2} times as long as bpftime",
                theirs.verifier,
                theirs.sum_ms / ours.sum_ms
            );
        }
    }
}
