//! Many threads, signals in the middle of everything, and forked children.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Program, call, count, counter, handle, harness};
use crate::programs::{program_count, program_spin};
use crate::victims;

#[test]
fn threads_run_programs_at_the_same_time() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    const CALLS: u64 = 50_000;
    const THREADS: u64 = 16;
    let (entries, returns) = (counter(), counter());
    let on_entry = [Program::new(program_count, &[handle(entries)])];
    let on_return = [Program::new(program_count, &[handle(returns)])];
    let victim = victims::victim_threads::extent();
    let both = victims::victim_threads_return::extent();
    let entry_hook = harness.hook(victim, &on_entry, &[]);
    let both_hook = harness.hook(both, &on_entry, &on_return);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for i in 0..CALLS {
                    assert_eq!(call(victim, [i, thread, 0]), i + thread + 1);
                    assert_eq!(call(both, [i, thread, 0]), i + thread + 1);
                }
            });
        }
    });
    // A thread finds no slot only if eight others in its window are busy.
    let missed_entry = harness.record(&entry_hook).missed_slot;
    let missed_both = harness.record(&both_hook).missed_slot;
    let total = THREADS * CALLS;
    assert!(count(entries) + missed_entry >= 2 * total - missed_both);
    assert!(count(returns) + missed_both >= total);
    assert!(count(entries) <= 2 * total && count(returns) <= total);
    assert!(count(entries) > 2 * total - 100, "hardly any is missed");
    assert_eq!(harness.outstanding(&both_hook), 0);
}

#[test]
fn more_threads_than_slots() {
    let Some(harness) = harness() else { return };
    const THREADS: usize = bpftime_abi::target::MAX_SLOTS + 200;
    let runs = counter();
    let victim = victims::victim_many::extent();
    let hook = harness.hook(victim, &[Program::new(program_count, &[handle(runs)])], &[]);
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for i in 0..THREADS as u64 {
            let barrier = &barrier;
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || {
                    // All threads are alive at once, each with its own FS base.
                    barrier.wait();
                    for _ in 0..10 {
                        assert_eq!(call(victim, [i, 0, 0]), i + 2);
                    }
                    barrier.wait();
                })
                .expect("the machine allows this many threads");
        }
    });
    assert_eq!(
        count(runs) + harness.record(&hook).missed_slot,
        10 * THREADS as u64
    );
    assert!(count(runs) > 9 * THREADS as u64);
}

/// Calls that the signal handler makes, and wrong results that it got.
static IN_HANDLER: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    let result = call(victims::victim_signal::extent(), [40, 0, 0]);
    IN_HANDLER.fetch_add(1, Ordering::Relaxed);
    if result != 42 {
        WRONG.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn signals_that_interrupt_trampoline_dispatcher_and_programs() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let (entries, returns) = (counter(), counter());
    let victim = victims::victim_signal::extent();
    let hook = harness.hook(
        victim,
        &[Program::new(program_count, &[handle(entries)])],
        &[Program::new(program_count, &[handle(returns)])],
    );
    let stop = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, calls) = (&stop, &calls);
        scope.spawn(move || {
            // SAFETY: the handler only calls assembly and atomics.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_RESTART;
                assert_eq!(
                    libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()),
                    0
                );
            }
            // SAFETY: takes no argument.
            let own = unsafe { libc::pthread_self() };
            sender.send(own as u64).expect("the other side waits");
            while !stop.load(Ordering::Relaxed) {
                let i = calls.fetch_add(1, Ordering::Relaxed);
                assert_eq!(call(victim, [i, 0, 0]), i + 2);
            }
        });
        let thread = receiver.recv().expect("the thread starts");
        let start = Instant::now();
        for i in 0.. {
            let enough = IN_HANDLER.load(Ordering::Relaxed) > 20_000
                && harness.record(&hook).missed_nested > 10;
            if enough || start.elapsed() > Duration::from_secs(60) {
                break;
            }
            // SAFETY: the thread runs until `stop`.
            unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR2) };
            for _ in 0..i % 1000 {
                std::hint::spin_loop();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let handled = IN_HANDLER.load(Ordering::Relaxed);
    assert!(handled > 1000, "{handled} signals are too few");
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
    let record = harness.record(&hook);
    let all = calls.load(Ordering::Relaxed) + handled;
    assert!(
        record.missed_nested > 0,
        "no signal came while a program ran"
    );
    // At each call and each return a program either ran or was missed.
    let ran = count(entries) + count(returns);
    assert_eq!(ran + record.missed_nested + record.missed_slot, 2 * all);
    assert_eq!(harness.outstanding(&hook), 0);
}

#[test]
fn a_forked_child_goes_on_by_itself() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let runs = counter();
    let victim = victims::victim_fork::extent();
    let program = Program {
        needs_cpu: false,
        ..Program::new(program_count, &[handle(runs)])
    };
    let hook = harness.hook(victim, &[program], &[program]);
    assert_eq!(call(victim, [1, 0, 0]), 3);
    // SAFETY: the child only calls assembly and `_exit`.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let mut good = true;
            for i in 0..1000 {
                good &= call(victim, [i, 0, 0]) == i + 2;
            }
            good &= count(runs) == 2002;
            // What the child knows of the process is its own.
            good &= (*harness.state()).process.tgid == libc::getpid() as u32;
            libc::_exit(if good { 17 } else { 1 });
        }
        assert!(child > 0);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(libc::WEXITSTATUS(status), 17);
    }
    assert_eq!(call(victim, [1, 0, 0]), 3);
    assert_eq!(count(runs), 4, "the child counted in its own memory");
    assert_eq!(harness.hits(&hook), 4);
}

#[test]
fn a_thread_that_stays_in_a_program_disturbs_nobody() {
    let Some(harness) = harness() else { return };
    let (runs, release) = (counter(), counter());
    let victim = victims::victim_spin::extent();
    let program = Program::new(program_spin, &[handle(runs), handle(release)]);
    let hook = harness.hook(victim, &[program], &[]);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|i| scope.spawn(move || call(victim, [i, 0, 0])))
            .collect();
        while count(runs) < 4 {
            std::thread::yield_now();
        }
        release.store(1, Ordering::SeqCst);
        for (i, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().expect("no panic"), i as u64 + 2);
        }
    });
    assert_eq!(harness.record(&hook).missed_nested, 0);
}

#[test]
fn ten_million_calls() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    const CALLS: u64 = 10_000_000;
    let runs = counter();
    let victim = victims::victim_stress::extent();
    let program = Program::new(program_count, &[handle(runs)]);
    let hook = harness.hook(victim, &[program], &[program]);
    for i in 0..CALLS {
        assert_eq!(call(victim, [i, 0, 0]), i + 2);
    }
    assert_eq!(count(runs), 2 * CALLS);
    assert_eq!(harness.hits(&hook), 2 * CALLS);
}
