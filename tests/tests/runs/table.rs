//! Runs many programs, on all processors, and tells what came of them.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpftime_isa::{ProgType, Program};
use bpftime_verifier::{Options, verify};

use super::campaign::{self, Effort};

/// Programs with their titles, as they are read when it is their turn.
pub(crate) type Source = Box<dyn Fn() -> Vec<(String, Program)> + Send + Sync>;

/// What came of one program.
struct Row {
    title: String,
    report: campaign::Report,
    analysed: usize,
    slots: usize,
    share: f64,
}

/// What came of all.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    refused: usize,
}

/// Runs all programs that are accepted, and fails if one does what it may not.
pub(crate) fn run(sources: &[Source], options: &Options, effort: Effort) {
    let next = AtomicUsize::new(0);
    let tables: Mutex<BTreeMap<usize, Table>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(source) = sources.get(at) else {
                        break;
                    };
                    let table = run_one(source, options, effort);
                    let mut tables = tables.lock().expect("no worker panics");
                    tables.insert(at, table);
                    progress(tables.len(), sources.len());
                }
            });
        }
    });
    let tables = tables.into_inner().expect("no worker panics");
    let mut all = Table::default();
    for mut table in tables.into_values() {
        all.rows.append(&mut table.rows);
        all.refused += table.refused;
    }
    finish(all);
}

fn run_one(source: &Source, options: &Options, effort: Effort) -> Table {
    let mut table = Table::default();
    for (title, program) in source() {
        if program.prog_type == ProgType::Unspec || !wanted(&title) {
            continue;
        }
        let Ok(verified) = verify(program, options) else {
            table.refused += 1;
            continue;
        };
        let types = options.kernel_types.as_deref();
        let report = campaign::run(&verified, types, effort, title.len() as u64 + 1);
        let reached = &verified.facts().reached;
        table.rows.push(Row {
            share: report.share(reached),
            title,
            report,
            analysed: verified.facts().reached_count(),
            slots: reached.len(),
        });
    }
    table
}

fn wanted(title: &str) -> bool {
    std::env::var("BPFTIME_ONLY").map_or(true, |part| title.contains(&part))
}

/// A bar on terminals, and elsewhere a line for each tenth.
fn progress(done: usize, all: usize) {
    let mut out = std::io::stderr();
    let tenths = |done: usize| done * 10 / all.max(1);
    // Nobody is told if it cannot be written.
    let _ = if out.is_terminal() {
        let filled = done * 40 / all.max(1);
        let end = if done == all { "\n" } else { "" };
        let bar: String = (0..40)
            .map(|at| if at < filled { '#' } else { '.' })
            .collect();
        write!(out, "\r[{bar}] {done}/{all}{end}").and_then(|()| out.flush())
    } else if tenths(done) != tenths(done - 1) {
        writeln!(out, "{done} of {all}")
    } else {
        Ok(())
    };
}

fn finish(table: Table) {
    let rows = &table.rows;
    for row in rows.iter().filter(|row| row.analysed < row.slots) {
        let never = row.slots - row.analysed;
        println!(
            "never analysed, and no run executes them: {}: {never} of {}",
            row.title, row.slots
        );
    }
    let mut missing: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(what) = &row.report.missing {
            missing.entry(what).or_default().push(row);
        }
    }
    for (what, rows) in &missing {
        println!("the world lacks, for {} programs: {what}", rows.len());
        for row in rows {
            println!("    {:5.1} % executed: {}", 100.0 * row.share, row.title);
        }
    }
    let mut below: Vec<&Row> = rows.iter().filter(|row| row.share < 0.9).collect();
    below.sort_by(|a, b| a.share.total_cmp(&b.share));
    for row in &below {
        println!("{:5.1} % executed: {}", 100.0 * row.share, row.title);
    }
    let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
    println!(
        "{} programs accepted and {} rejected; {} runs, {} of them to the end and {} cut off; {} programs \
         need what the world lacks, {} are below 90 %, and {} have never gone to the end",
        rows.len(),
        table.refused,
        sum(|row| row.report.runs),
        sum(|row| row.report.ended),
        sum(|row| row.report.cut_off),
        missing.values().map(Vec::len).sum::<usize>(),
        below.len(),
        rows.iter().filter(|row| row.report.ended == 0).count(),
    );
    let violations: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let violation = row.report.violation.as_ref()?;
            Some(format!("{}: {violation}", row.title))
        })
        .collect();
    assert!(
        violations.is_empty(),
        "{} programs did what they may not:\n{}",
        violations.len(),
        violations.join("\n")
    );
}
