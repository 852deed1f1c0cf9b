//! "Compiled programs" in assembly: like JIT output they touch no vector register.

use std::arch::global_asm;
use std::sync::atomic::AtomicU64;

use bpftime_abi::target::PtRegs;

/// What [`program_record`] writes; map handle 0 is its address.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Recording {
    /// Number of runs.
    pub(crate) runs: AtomicU64,
    /// The context of the last run.
    pub(crate) regs: PtRegs,
    /// Native stack pointer of the last run, [`bpftime_abi::VmCtx::cpu`].
    pub(crate) stack_pointer: u64,
    pub(crate) cpu: u64,
}

unsafe extern "C" {
    pub(crate) safe fn program_return_0();
    pub(crate) safe fn program_count();
    pub(crate) safe fn program_record();
    pub(crate) safe fn program_call_victim();
    pub(crate) safe fn program_clobber();
    pub(crate) safe fn program_spin();
    pub(crate) safe fn program_helper();
}

global_asm!(
    ".pushsection .text.programs, \"ax\", @progbits",
    ".globl program_return_0",
    "program_return_0:",
    "xor eax, eax",
    "ret",
    // Adds 1, atomically, to the word that is map 0.
    ".globl program_count",
    "program_count:",
    "mov rax, [rdi + 8]",
    "mov rax, [rax]",
    "lock inc qword ptr [rax]",
    "xor eax, eax",
    "ret",
    // See Recording.
    ".globl program_record",
    "program_record:",
    "mov r8, [rdi + 8]",
    "mov r8, [r8]",
    "mov eax, [rdi + 32]",
    "mov [r8 + 184], rax",
    "mov [r8 + 176], rsp",
    "lea rdi, [r8 + 8]",
    "mov ecx, 21",
    "rep movsq",
    "lock inc qword ptr [r8]",
    "xor eax, eax",
    "ret",
    // Calls the function whose address is map 1 (a probe within a program), and counts.
    ".globl program_call_victim",
    "program_call_victim:",
    "push rbx",
    "mov rbx, [rdi + 8]",
    "mov rax, [rbx]",
    "lock inc qword ptr [rax]",
    "call [rbx + 8]",
    "pop rbx",
    "ret",
    // Leaves nothing as it was that a program may change.
    ".globl program_clobber",
    "program_clobber:",
    "mov rax, [rdi + 8]",
    "mov rax, [rax]",
    "lock inc qword ptr [rax]",
    "mov rax, -1",
    "mov rcx, -2",
    "mov rdx, -3",
    "mov rsi, -4",
    "mov rdi, -5",
    "mov r8, -6",
    "mov r9, -7",
    "mov r10, -8",
    "mov r11, -9",
    "cmp rax, rcx",
    "ret",
    // Calls the helper whose number is map 1 with maps 2 to 6, and stores its result to map 0.
    ".globl program_helper",
    "program_helper:",
    "push rbx",
    "mov rbx, [rdi + 8]",
    "mov rax, [rdi]",
    "mov rcx, [rbx + 8]",
    "mov rax, [rax + 8 * rcx]",
    "mov rsi, [rbx + 16]",
    "mov rdx, [rbx + 24]",
    "mov rcx, [rbx + 32]",
    "mov r8, [rbx + 40]",
    "mov r9, [rbx + 48]",
    "call rax",
    "mov rcx, [rbx]",
    "mov [rcx], rax",
    "xor eax, eax",
    "pop rbx",
    "ret",
    // Counts, and stays until the word that is map 1 is not 0.
    ".globl program_spin",
    "program_spin:",
    "mov rcx, [rdi + 8]",
    "mov rax, [rcx]",
    "lock inc qword ptr [rax]",
    "mov rcx, [rcx + 8]",
    "2:",
    "pause",
    "cmp qword ptr [rcx], 0",
    "je 2b",
    "xor eax, eax",
    "ret",
    ".popsection",
);
