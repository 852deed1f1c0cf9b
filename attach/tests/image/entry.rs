//! Entry probes: nothing of the probed thread changes, and programs see it as it is.

use std::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::target::PtRegs;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::harness::{Program, call, call_registers, count, counter, handle, harness};
use crate::programs::{
    Recording, program_call_victim, program_clobber, program_count, program_record,
};
use crate::victims::{self, Registers, STATUS_FLAGS};

/// All registers random.
pub(crate) fn random_registers(random: &mut StdRng) -> Registers {
    Registers {
        general: random.random(),
        flags: random.random::<u64>() & STATUS_FLAGS,
        xmm: random.random(),
        red_zone: random.random(),
        sp_before: 0,
        sp_after: 0,
        mxcsr: 0,
        fcw: 0,
    }
}

fn recording() -> &'static Recording {
    Box::leak(Box::default())
}

/// Compares all that `victim_plain` and its likes leave as it is.
fn assert_unchanged(before: &Registers, after: &Registers) {
    assert_eq!(before.general, after.general, "general registers");
    assert_eq!(before.flags, after.flags, "flags");
    assert_eq!(before.xmm, after.xmm, "vector registers");
    assert_eq!(before.red_zone, after.red_zone, "red zone");
    assert_eq!(after.sp_before, after.sp_after, "stack pointer");
    assert_eq!((after.mxcsr & 0xffc0, after.fcw), (0x1f80, 0x37f));
}

/// The registers that a program must see for `before`, at `ip` with `sp`.
fn expected(before: &Registers, ip: u64, sp: u64) -> PtRegs {
    let [
        ax,
        bx,
        cx,
        dx,
        si,
        di,
        bp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
    ] = before.general;
    PtRegs {
        r15,
        r14,
        r13,
        r12,
        bp,
        bx,
        r11,
        r10,
        r9,
        r8,
        ax,
        cx,
        dx,
        si,
        di,
        orig_ax: u64::MAX,
        ip,
        cs: 0x33,
        flags: before.flags | 0x202,
        sp,
        ss: 0x2b,
    }
}

#[test]
fn the_probed_function_finds_everything_as_it_was() {
    let Some(harness) = harness() else { return };
    let runs = counter();
    let victim = victims::victim_clobber::extent();
    let mut random = StdRng::seed_from_u64(1);
    let unprobed = call_registers(victim, &random_registers(&mut random));
    assert_eq!(unprobed.sp_before, unprobed.sp_after);

    let program = Program::new(program_clobber, &[handle(runs)]);
    let hook = harness.hook(victim, &[program], &[]);
    for _ in 0..1000 {
        let before = random_registers(&mut random);
        assert_unchanged(&before, &call_registers(victim, &before));
    }
    assert_eq!(count(runs), 1000);
    assert_eq!(harness.hits(&hook), 1000);
}

#[test]
fn a_program_sees_the_registers_at_the_entry() {
    let Some(harness) = harness() else { return };
    let seen = recording();
    let victim = victims::victim_pt_regs::extent();
    harness.hook(
        victim,
        &[Program::new(program_record, &[handle(seen)])],
        &[],
    );

    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..1000 {
        let before = random_registers(&mut random);
        let after = call_registers(victim, &before);
        assert_unchanged(&before, &after);
        // The call pushed the return address.
        let sp = after.sp_before - 8;
        assert_eq!(seen.regs, expected(&before, victim.0 as u64, sp));
    }
    assert_eq!(count(&seen.runs), 1000);

    let state = harness.state() as u64;
    let stacks = state + std::mem::offset_of!(bpftime_abi::target::State, stacks) as u64;
    assert!(seen.stack_pointer > stacks, "a private stack");
    assert_eq!(seen.stack_pointer % 16, 8, "aligned as after a call");
}

#[test]
fn return_programs_see_the_registers_at_the_return() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let at_entry = recording();
    let at_return = recording();
    let victim = victims::victim_return_plain::extent();
    let hook = harness.hook(
        victim,
        &[Program::new(program_record, &[handle(at_entry)])],
        &[Program::new(program_record, &[handle(at_return)])],
    );

    let mut random = StdRng::seed_from_u64(3);
    let mut return_address = None;
    for _ in 0..1000 {
        let before = random_registers(&mut random);
        let after = call_registers(victim, &before);
        let red_zone_used = Registers {
            red_zone: before.red_zone,
            ..after
        };
        assert_unchanged(&before, &red_zone_used);
        let sp = after.sp_before;
        assert_eq!(at_entry.regs, expected(&before, victim.0 as u64, sp - 8));
        let ip = at_return.regs.ip;
        assert_eq!(at_return.regs, expected(&before, ip, sp));
        assert_eq!(ip, *return_address.get_or_insert(ip));
    }
    // The return address is that of the caller's only call.
    let call_with = crate::victims::call_with as *const () as u64;
    let ip = return_address.unwrap_or(0);
    assert!((call_with..call_with + 600).contains(&ip));
    assert_eq!(count(&at_return.runs), 1000);
    assert_eq!(harness.hits(&hook), 2000);
    assert_eq!(harness.outstanding(&hook), 0);
}

#[test]
fn arguments_on_the_stack_stay_where_they_are() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let runs = counter();
    let victim = victims::victim_stack_arguments::extent();
    // SAFETY: the victim takes ten integers by the C calling convention.
    let function: extern "C" fn(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64) -> u64 =
        unsafe { std::mem::transmute(victim.0) };
    let sum = || function(1, 2, 3, 4, 5, 6, 700, 80, 9, 1000);
    assert_eq!(sum(), 1789);
    let program = Program::new(program_count, &[handle(runs)]);
    harness.hook(victim, &[program], &[program]);
    assert_eq!(sum(), 1789);
    assert_eq!(count(runs), 2);
}

#[test]
fn displaced_instructions_do_what_they_did() {
    let Some(harness) = harness() else { return };
    let runs = counter();
    let program = [Program::new(program_count, &[handle(runs)])];
    struct Case {
        victim: (usize, usize),
        arguments: &'static [[u64; 3]],
        /// Bytes of the patch, and patches.
        patch: (usize, usize),
    }
    let case = |victim, arguments, patch| Case {
        victim,
        arguments,
        patch,
    };
    let cases = [
        case(
            victims::victim_rip::extent(),
            &[[5, 0, 0], [u64::MAX, 0, 0]],
            (5, 1),
        ),
        case(
            victims::victim_branch::extent(),
            &[[0, 0, 0], [1, 0, 0]],
            (5, 1),
        ),
        case(victims::victim_call::extent(), &[[0, 0, 0]], (5, 1)),
        case(victims::victim_call_first::extent(), &[[0, 0, 0]], (5, 1)),
        case(
            victims::victim_loop_back::extent(),
            &[[1, 0, 0], [100, 0, 0]],
            (2, 2),
        ),
        case(victims::victim_tiny::extent(), &[[0, 0, 0]], (5, 1)),
    ];
    for Case {
        victim,
        arguments,
        patch,
    } in cases
    {
        let before: Vec<u64> = arguments.iter().map(|a| call(victim, *a)).collect();
        let hook = harness.hook(victim, &program, &[]);
        let patches = &hook.trampoline.patches;
        let last = patches.last().expect("at least one");
        assert_eq!((last.replacement.len(), patches.len()), patch);
        let start = count(runs);
        let after: Vec<u64> = arguments.iter().map(|a| call(victim, *a)).collect();
        assert_eq!(before, after);
        assert_eq!(count(runs) - start, arguments.len() as u64);
    }
}

#[test]
fn a_probe_inside_a_program_is_counted_and_skipped() {
    let Some(harness) = harness() else { return };
    let _table = harness.returns.read();
    let (outer, inner) = (counter(), counter());
    let victim = victims::victim_nested::extent();
    let maps = [handle(outer), victim.0 as u64];
    let program = Program::new(program_call_victim, &maps);
    let count_program = Program::new(program_count, &[handle(inner)]);
    let hook = harness.hook(victim, &[program, count_program], &[count_program]);
    assert_eq!(call(victim, [40, 0, 0]), 42);
    assert_eq!(count(outer), 1);
    assert_eq!(count(inner), 2);
    // Once at the inner entry, once at the inner return.
    assert_eq!(harness.record(&hook).missed_nested, 2);
    assert_eq!(harness.outstanding(&hook), 0);
}

#[test]
fn all_programs_of_a_list_run_unless_switched_off() {
    let Some(harness) = harness() else { return };
    let counters: Vec<_> = (0..5).map(|_| counter()).collect();
    let handles: Vec<[u64; 1]> = counters.iter().map(|c| [handle(*c)]).collect();
    let programs: Vec<_> = handles
        .iter()
        .map(|handles| Program::new(program_count, handles))
        .collect();
    let victim = victims::victim_lists::extent();
    let hook = harness.hook(victim, &programs, &[]);
    let counts = || counters.iter().map(|c| count(c)).collect::<Vec<_>>();
    call(victim, [0; 3]);
    assert_eq!(counts(), [1, 1, 1, 1, 1]);

    // SAFETY: the hook's list was written by the harness; the switch is the third program's.
    unsafe {
        let state = harness.state();
        let mut record =
            (*state).hooks[hook.index].entry_programs as *mut bpftime_abi::target::ProgramRecord;
        record = (*record).next as *mut _;
        record = (*record).next as *mut _;
        *((*record).switch as *mut u64) = 6;
    }
    call(victim, [0; 3]);
    assert_eq!(counts(), [2, 2, 1, 2, 2]);
}

#[test]
fn a_program_that_needs_a_cpu_has_it_alone_or_is_missed() {
    let Some(harness) = harness() else { return };
    let seen = recording();
    let victim = victims::victim_cpu::extent();
    let program = Program {
        needs_cpu: true,
        ..Program::new(program_record, &[handle(seen)])
    };
    let hook = harness.hook(victim, &[program], &[]);
    // SAFETY: the harness made the table; all words are plain numbers.
    let leases = unsafe {
        let config = std::ptr::addr_of!((*harness.state()).config);
        (*config).leases as *mut bpftime_abi::target::LeaseTable
    };
    // SAFETY: the table has more than two leases, which are only accessed atomically.
    let owners = [0, 1].map(|index| unsafe {
        AtomicU64::from_ptr(std::ptr::addr_of_mut!((*leases).leases[index].owner))
    });
    let set = |index: usize, owner: u64| owners[index].store(owner, Ordering::SeqCst);
    for (taken, cpu) in [(0, 1), (1, 0)] {
        set(taken, 99);
        call(victim, [0; 3]);
        assert_eq!(seen.cpu, cpu);
        let left = owners[cpu as usize].load(Ordering::SeqCst);
        assert_eq!(left, 0, "it is given back");
        set(taken, 0);
    }
    assert_eq!(count(&seen.runs), 2);
    set(0, 99);
    set(1, 99);
    assert_eq!(call(victim, [40, 0, 0]), 42);
    assert_eq!(count(&seen.runs), 2);
    assert_eq!(harness.record(&hook).missed_cpu, 1);
    set(0, 0);
    set(1, 0);
    call(victim, [0; 3]);
    assert_eq!(count(&seen.runs), 3, "a wait in vain is forgotten");

    // As if a thread that runs a program were late. So may the releasing thread be, hence the tries.
    let got_it = (0..50).any(|_| {
        let before = count(&seen.runs);
        set(0, 99);
        set(1, 99);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                set(1, 0);
            });
            call(victim, [0; 3]);
        });
        set(0, 0);
        count(&seen.runs) == before + 1 && seen.cpu == 1
    });
    assert!(got_it, "a thread waits for a CPU");
}
