//! What helpers find out about the process, thread and memory around them.

use std::mem::offset_of;
use std::ptr::addr_of;
use std::sync::Mutex;

use bpftime_abi::target::{CONFIG_NO_SYSTEM_CALLS, Config, State, TRACE_RECORDS};

use crate::harness::{Harness, Program, call, counter, handle, harness};
use crate::programs::program_helper;
use crate::victims;

/// Calls a helper from a probe of a function of its own, and gives its result.
struct Helper {
    victim: (usize, usize),
    result: u64,
    words: *mut u64,
}

impl Helper {
    fn new(harness: &Harness, victim: (usize, usize)) -> Self {
        let result = handle(counter());
        let words = Box::into_raw(Box::new([result, 0, 0, 0, 0, 0, 0])).cast();
        let program = Program {
            maps: words,
            ..Program::new(program_helper, &[])
        };
        harness.hook(victim, &[program], &[]);
        Self {
            victim,
            result,
            words,
        }
    }

    fn call(&mut self, number: u64, arguments: &[u64]) -> u64 {
        for (index, word) in [number].iter().chain(arguments).take(6).enumerate() {
            // SAFETY: seven words, of which the program reads all but the first as arguments.
            unsafe { self.words.add(1 + index).write_volatile(*word) };
        }
        call(self.victim, [0; 3]);
        // SAFETY: the counter made in `new`, written by this thread.
        unsafe { (self.result as *const u64).read_volatile() }
    }
}

#[test]
fn process_thread_user_and_name() {
    let Some(harness) = harness() else { return };
    let mut helper = Helper::new(harness, victims::victim_task::extent());
    // SAFETY: these calls take no argument.
    let (pid, tid, user, group) = unsafe {
        (
            libc::getpid(),
            libc::gettid(),
            libc::getuid(),
            libc::getgid(),
        )
    };
    assert_eq!(helper.call(14, &[]), (pid as u64) << 32 | tid as u64);
    assert_eq!(
        helper.call(15, &[]),
        u64::from(group) << 32 | u64::from(user)
    );

    let name = [0xffu8; 16];
    assert_eq!(helper.call(16, &[name.as_ptr() as u64, 16]), 0);
    let expected = std::fs::read_to_string("/proc/thread-self/comm").expect("own thread");
    // SAFETY: still allocated; written by the helper behind the compiler's back.
    let name = unsafe { addr_of!(name).read_volatile() };
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(16);
    assert_eq!(&name[..end], expected.trim_end().as_bytes());
    assert_eq!(name[end..], [0; 16][end..]);
}

#[test]
fn clocks_and_random_numbers() {
    let Some(harness) = harness() else { return };
    let mut helper = Helper::new(harness, victims::victim_clock::extent());
    let clock = |clock| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes to `time`.
        unsafe { libc::clock_gettime(clock, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    for (number, kind) in [(5, libc::CLOCK_MONOTONIC), (125, libc::CLOCK_BOOTTIME)] {
        let before = clock(kind);
        let seen = helper.call(number, &[]);
        assert!((before..=clock(kind)).contains(&seen));
    }
    let numbers: std::collections::HashSet<u64> = (0..1000).map(|_| helper.call(7, &[])).collect();
    assert!(numbers.len() > 990, "numbers repeat");
    assert!(numbers.iter().all(|number| *number <= u64::from(u32::MAX)));
}

#[test]
fn memory_that_can_be_read_and_memory_that_cannot() {
    let Some(harness) = harness() else { return };
    let mut helper = Helper::new(harness, victims::victim_memory::extent());
    let efault = -14i64 as u64;
    let to = Box::leak(Box::new([0u8; 8192]));
    let address = to.as_ptr() as u64;
    let from: Vec<u8> = (0..8192u32).map(|i| i as u8).collect();
    let on_stack = [0x5au8; 64];

    for (source, len) in [
        (from.as_ptr(), 1),
        (from.as_ptr(), 8192),
        (on_stack.as_ptr(), 64),
    ] {
        to.fill(0);
        assert_eq!(helper.call(112, &[address, len, source as u64]), 0);
        // SAFETY: `len` bytes of an array.
        let expected = unsafe { std::slice::from_raw_parts(source, len as usize) };
        assert_eq!(&std::hint::black_box(&to)[..len as usize], expected);
    }
    for bad in [0, 8, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, u64::MAX - 3] {
        to.fill(7);
        assert_eq!(helper.call(112, &[address, 16, bad]), efault, "{bad:#x}");
        assert_eq!(
            std::hint::black_box(&to)[..16],
            [0; 16],
            "zeroed on failure"
        );
    }
    // A string that ends before an unreadable page.
    // SAFETY: two new pages, of which the second is made unreadable.
    let page = unsafe {
        let pages = libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        libc::mprotect(pages.byte_add(4096), 4096, libc::PROT_NONE);
        let text = pages.byte_add(4096 - 6);
        std::ptr::copy_nonoverlapping(c"hello".as_ptr(), text.cast(), 6);
        text as u64
    };
    assert_eq!(helper.call(114, &[address, 100, page]), 6);
    assert_eq!(&std::hint::black_box(&to)[..6], b"hello\0");
}

/// Held by tests that write to the ring of printed text.
static PRINTING: Mutex<()> = Mutex::new(());

#[test]
fn printed_text_is_in_the_control_memory() {
    let Some(harness) = harness() else { return };
    let _printing = PRINTING.lock();
    let mut helper = Helper::new(harness, victims::victim_print::extent());
    let format = b"answer %d\0";
    for answer in 0..TRACE_RECORDS as u64 + 10 {
        let arguments = [format.as_ptr() as u64, format.len() as u64, answer];
        assert!((helper.call(6, &arguments) as i64) > 0);
    }
    // SAFETY: within the control memory; no other test prints now.
    let (tickets, record) = unsafe {
        let ring = addr_of!((*harness.control()).trace);
        let tickets = addr_of!((*ring).tickets).read_volatile();
        let last = (tickets - 1) as usize % TRACE_RECORDS;
        (tickets, addr_of!((*ring).records[last]).read_volatile())
    };
    assert!(tickets >= TRACE_RECORDS as u64 + 10);
    assert_eq!(record.sequence, tickets);
    let text = format!("answer {}", TRACE_RECORDS + 9);
    assert_eq!(
        String::from_utf8_lossy(&record.text[..record.len as usize]).trim_end(),
        text
    );
    assert_eq!(record.tgid, std::process::id());
}

#[test]
fn a_target_under_seccomp_sees_no_system_call() {
    let Some(harness) = harness() else { return };
    let _printing = PRINTING.lock();
    let mut helper = Helper::new(harness, victims::victim_seccomp::extent());
    // SAFETY: the child calls assembly and the kernel only. A filter in strict mode kills it at
    // any system call but read, write and exit.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let state = harness.state().cast::<u8>();
            let config = state.add(offset_of!(State, config));
            let flags = config.add(offset_of!(Config, flags)).cast::<u32>();
            *flags |= CONFIG_NO_SYSTEM_CALLS;
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT);
            let to = [0u64; 2];
            let mut good = true;
            for (number, result) in [(15, 0), (16, 0), (112, -14i64 as u64)] {
                good &= helper.call(number, &[to.as_ptr() as u64, 16, 8]) == result;
            }
            helper.call(14, &[]);
            helper.call(6, &[c"x".as_ptr() as u64, 2]);
            libc::syscall(libc::SYS_exit, if good { 17 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(
            libc::WIFEXITED(status),
            "killed by {}",
            libc::WTERMSIG(status)
        );
        assert_eq!(libc::WEXITSTATUS(status), 17);
    }
}
