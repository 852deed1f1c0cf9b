//! The system calls that helpers need. None is on a probe's own path.

use core::arch::asm;

/// Makes a system call.
///
/// # Safety
///
/// As for the system call itself: pointers among the arguments must be valid for what it does with
/// them.
pub unsafe fn syscall(number: u64, arguments: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the kernel changes rax, rcx and r11 only, besides memory that the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Numbers of the system calls that are used (x86-64).
pub mod number {
    /// `getpid`
    pub const GETPID: u64 = 39;
}

/// The process id as the process sees it.
pub fn getpid() -> u32 {
    // SAFETY: takes no pointer.
    unsafe { syscall(number::GETPID, [0; 6]) as u32 }
}
