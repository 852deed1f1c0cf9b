//! Return probes: whatever the probed functions do with the stack, each return leads to where
//! the call came from.

use std::arch::global_asm;
use std::sync::atomic::AtomicU64;

use crate::harness::{Harness, Hook, Program, call, count, counter, handle, harness};
use crate::programs::{Recording, program_count, program_record};
use crate::victims;

/// A hook whose return programs count.
fn count_returns(harness: &Harness, victim: (usize, usize)) -> (Hook, &'static AtomicU64) {
    let returns = counter();
    let program = Program::new(program_count, &[handle(returns)]);
    (harness.hook(victim, &[], &[program]), returns)
}

#[test]
fn the_return_value_is_seen_and_kept() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let seen: &'static Recording = Box::leak(Box::default());
    let victim = victims::victim_return_regs::extent();
    let program = Program::new(program_record, &[handle(seen)]);
    harness.hook(victim, &[], &[program]);
    assert_eq!(call(victim, [0; 3]), 0x1234567);
    assert_eq!((seen.regs.ax, seen.regs.dx), (0x1234567, 0x7654321));
}

#[test]
fn recursion() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let victim = victims::victim_fib::extent();
    let (hook, returns) = count_returns(harness, victim);
    assert_eq!(call(victim, [20, 0, 0]), 6765);
    // fib(n) makes 2 * fib(n + 1) - 1 calls.
    assert_eq!(count(returns), 2 * 10946 - 1);
    assert_eq!(harness.outstanding(&hook), 0);
    assert_eq!(harness.record(&hook).missed_return, 0);
}

#[test]
fn recursion_deeper_than_the_table_is_counted_and_harmless() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.write();
    const DEPTH: u64 = 100_000;
    let victim = victims::victim_deep::extent();
    let (hook, returns) = count_returns(harness, victim);
    let mut calls = 0;
    for depth in [10, 1000, DEPTH, 10, DEPTH] {
        assert_eq!(call(victim, [depth, 0, 0]), depth);
        calls += depth + 1;
    }
    let missed = harness.record(&hook).missed_return;
    assert_eq!(count(returns) + missed, calls);
    assert!(missed > 0, "the table is smaller than this recursion");
    assert!(count(returns) > 40_000, "most of the table is used");
    assert_eq!(harness.outstanding(&hook), 0);
}

#[test]
fn tail_calls_between_probed_functions() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let a = victims::victim_tail_a::extent();
    let hooks = [
        count_returns(harness, a),
        count_returns(harness, victims::victim_tail_b::extent()),
        count_returns(harness, victims::victim_tail_c::extent()),
    ];
    for _ in 0..1000 {
        assert_eq!(call(a, [100, 0, 0]), 107);
    }
    for (hook, returns) in &hooks {
        assert_eq!(count(returns), 1000);
        assert_eq!(harness.outstanding(hook), 0);
    }
}

#[test]
fn tail_calls_in_circles() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let ping = victims::victim_ping::extent();
    let own = victims::victim_self::extent();
    let hooks = [
        count_returns(harness, ping),
        count_returns(harness, victims::victim_pong::extent()),
        count_returns(harness, own),
    ];
    for depth in [0, 1, 2, 3, 1000] {
        assert_eq!(call(ping, [depth, 0, 0]), 0);
        assert_eq!(call(own, [depth, 0, 0]), 0);
    }
    // The first call of each is seen to return, whatever number of tail calls lie between.
    assert_eq!(hooks.map(|(_, returns)| count(returns)), [5, 4, 5]);
}

global_asm!(
    ".pushsection .text.victims, \"ax\", @progbits",
    // Calls victim_escape, which does not return but comes back as longjmp does.
    ".globl call_escape",
    "call_escape:",
    "push rbx",
    "mov rdi, rsp",
    "lea rsi, [rip + 2f]",
    "call victim_escape",
    "ud2",
    "2:",
    "mov eax, 7",
    "pop rbx",
    "ret",
    // The same stack slot, but the function called there returns.
    ".globl call_fib",
    "call_fib:",
    "push rbx",
    "call victim_fib_again",
    "pop rbx",
    "ret",
    // A coroutine that counts its resumptions in r15 and gives the stack back each time.
    ".globl coroutine_resume",
    "coroutine_resume:",
    "lea rdi, [rip + 3f]",
    "mov rsi, [rip + 4f]",
    "sub rsp, 8",
    "call victim_switch",
    "add rsp, 8",
    "mov rax, [rip + 5f]",
    "ret",
    "6:",
    "inc qword ptr [rip + 5f]",
    "lea rdi, [rip + 4f]",
    "mov rsi, [rip + 3f]",
    "call victim_switch",
    "jmp 6b",
    // Prepares the stack whose end is in rdi.
    ".globl coroutine_start",
    "coroutine_start:",
    "lea rax, [rip + 6b]",
    "mov [rdi - 8], rax",
    "lea rax, [rdi - 24]",
    "mov [rip + 4f], rax",
    "ret",
    ".pushsection .data.victims, \"aw\", @progbits",
    ".p2align 3",
    "3: .quad 0",
    "4: .quad 0",
    "5: .quad 0",
    ".popsection",
    ".popsection",
);

unsafe extern "C" {
    safe fn call_escape() -> u64;
    safe fn call_fib(n: u64) -> u64;
    safe fn coroutine_resume() -> u64;
    fn coroutine_start(stack_end: *mut u8);
}

#[test]
fn functions_that_are_left_without_return() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let (escape, escapes) = count_returns(harness, victims::victim_escape::extent());
    let (fib, fibs) = count_returns(harness, victims::victim_fib_again::extent());
    for _ in 0..1000 {
        assert_eq!(call_escape(), 7);
        assert!(
            harness.outstanding(&escape) <= 1,
            "stale entries are replaced"
        );
        assert_eq!(call_fib(1), 1);
    }
    assert_eq!(count(escapes), 0);
    assert_eq!(count(fibs), 1000);
    assert_eq!(
        harness.outstanding(&escape),
        0,
        "its stack slot was used anew"
    );
    assert_eq!(harness.outstanding(&fib), 0);
}

#[test]
fn coroutines_that_change_threads() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let (hook, returns) = count_returns(harness, victims::victim_switch::extent());
    let stack = Vec::leak(vec![0u64; 4096]);
    // SAFETY: the coroutine stays within a few hundred bytes of the stack, which is never freed.
    unsafe { coroutine_start(stack.as_mut_ptr_range().end.cast()) };
    let mut resumed = 0;
    for _ in 0..20 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..50 {
                    resumed += 1;
                    assert_eq!(coroutine_resume(), resumed);
                }
            });
        });
    }
    // The resumer's call returns each time; the coroutine's each time but the last.
    assert_eq!(count(returns), 2 * 1000 - 1);
    assert_eq!(harness.outstanding(&hook), 1);
}
