//! A program whose panics pass through functions. On standard input: an order and a number N, as in
//! "throw 10"; answered by "done".

use std::backtrace::Backtrace;
use std::io::{BufRead, Write};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

static FAILURES: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

fn check(right: bool) {
    FAILURES.fetch_add(u64::from(!right), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn thrower(n: u64) -> u64 {
    if n % 2 == 1 {
        panic!("{n}");
    }
    n + 1
}

struct Marks;

impl Drop for Marks {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        // A function that returns, and one that does not, while a panic may be on its way.
        check(thrower(2) == 3);
        check(catch_unwind(|| leaf(5)).ok() == Some(15));
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn between(n: u64) -> u64 {
    let _marks = Marks;
    thrower(n) + 1
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn leaf(n: u64) -> u64 {
    std::hint::black_box(n) * 3
}

// Catches and throws again.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn rethrows(n: u64) -> u64 {
    match catch_unwind(|| between(n)) {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

fn throw(n: u64) {
    for i in 0..n {
        let before = DROPPED.load(Ordering::Relaxed);
        match catch_unwind(|| rethrows(i)) {
            Ok(value) => check(i % 2 == 0 && value == i + 2),
            Err(payload) => {
                let text = payload.downcast_ref::<String>();
                check(i % 2 == 1 && text == Some(&i.to_string()));
            }
        }
        check(DROPPED.load(Ordering::Relaxed) == before + 1);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn traced(n: u64) -> String {
    let trace = Backtrace::force_capture().to_string();
    if n > 0 { trace } else { String::new() }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub fn tracing(n: u64) -> usize {
    let trace = traced(n);
    check(trace.contains("tracing") && trace.contains("main"));
    trace.len()
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (order, n) = line.split_once(' ').unwrap_or((&line, "0"));
        let n = n.parse().unwrap();
        match order {
            "throw" => throw(n),
            "threads" => {
                // `throw` counts what one thread drops.
                let panics = |n: u64| catch_unwind(|| rethrows(n)).is_err();
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| (0..n).for_each(|i| check(panics(i) == (i % 2 == 1))));
                    }
                });
            }
            "trace" => (1..=n).for_each(|i| check(tracing(i) > 0)),
            _ => {}
        }
        println!("done");
        std::io::stdout().flush().unwrap();
    }
    let right = FAILURES.load(Ordering::Relaxed) == 0;
    println!("{}", if right { "right" } else { "wrong" });
}
