//! Functions to be probed, and a caller that sets and reads every register.

use std::arch::global_asm;

/// All registers before or after a call, as [`call_with`] takes and gives them.
#[repr(C, align(32))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Registers {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15.
    pub(crate) general: [u64; 15],
    /// CF, PF, AF, ZF, SF, OF.
    pub(crate) flags: u64,
    pub(crate) xmm: [[u64; 2]; 16],
    /// The 128 bytes below the stack pointer that the called function has at entry.
    pub(crate) red_zone: [u64; 16],
    /// rsp at the call, after it; only given.
    pub(crate) sp_before: u64,
    pub(crate) sp_after: u64,
    /// mxcsr, x87 control word.
    pub(crate) mxcsr: u32,
    pub(crate) fcw: u32,
}

/// The status flags in `rflags`.
pub(crate) const STATUS_FLAGS: u64 = 0x8d5;

unsafe extern "C" {
    /// Calls `function` with the registers of `before` and stores them to `after`.
    pub(crate) fn call_with(function: usize, before: *const Registers, after: *mut Registers);
}

global_asm!(
    ".pushsection .text.victims, \"ax\", @progbits",
    ".globl call_with",
    "call_with:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdx",
    "push rdi",
    "push rsi",
    // Red zone pattern, below the return address that the call will push.
    "mov rax, rsi",
    ".set i, 0",
    ".rept 16",
    "mov rcx, [rax + 384 + i]",
    "mov [rsp - 136 + i], rcx",
    ".set i, i + 8",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movups xmm\\n, [rax + 128 + \\n * 16]",
    ".endr",
    // Flags by lahf's and seto's inverses, without a push into the pattern.
    "mov rcx, [rax + 120]",
    "mov edx, ecx",
    "shr edx, 11",
    "and edx, 1",
    "mov [rip + 3f], rax",
    "mov eax, ecx",
    "shl eax, 8",
    "mov al, dl",
    "add al, 127",
    "sahf",
    "mov rax, [rip + 3f]",
    "mov [rip + 4f], rsp",
    "mov rbx, [rax + 8]",
    "mov rcx, [rax + 16]",
    "mov rdx, [rax + 24]",
    "mov rsi, [rax + 32]",
    "mov rdi, [rax + 40]",
    "mov rbp, [rax + 48]",
    "mov r8, [rax + 56]",
    "mov r9, [rax + 64]",
    "mov r10, [rax + 72]",
    "mov r11, [rax + 80]",
    "mov r12, [rax + 88]",
    "mov r13, [rax + 96]",
    "mov r14, [rax + 104]",
    "mov r15, [rax + 112]",
    "mov rax, [rax]",
    "call [rsp + 8]",
    "mov [rip + 5f], rsp",
    "mov [rip + 3f], rax",
    "lahf",
    "seto al",
    "mov [rip + 6f], rax",
    "mov rax, [rsp + 16]",
    ".set i, 0",
    "mov [rax + 8], rbx",
    "mov [rax + 16], rcx",
    ".rept 16",
    "mov rcx, [rsp - 136 + i]",
    "mov [rax + 384 + i], rcx",
    ".set i, i + 8",
    ".endr",
    "mov [rax + 24], rdx",
    "mov [rax + 32], rsi",
    "mov [rax + 40], rdi",
    "mov [rax + 48], rbp",
    "mov [rax + 56], r8",
    "mov [rax + 64], r9",
    "mov [rax + 72], r10",
    "mov [rax + 80], r11",
    "mov [rax + 88], r12",
    "mov [rax + 96], r13",
    "mov [rax + 104], r14",
    "mov [rax + 112], r15",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movups [rax + 128 + \\n * 16], xmm\\n",
    ".endr",
    "stmxcsr [rax + 528]",
    "fnstcw [rax + 532]",
    "mov rcx, [rip + 3f]",
    "mov [rax], rcx",
    "mov rcx, [rip + 4f]",
    "mov [rax + 512], rcx",
    "mov rcx, [rip + 5f]",
    "mov [rax + 520], rcx",
    "mov rcx, [rip + 6f]",
    "movzx edx, ch",
    "movzx ecx, cl",
    "shl ecx, 11",
    "or ecx, edx",
    "and ecx, 0x8d5",
    "mov [rax + 120], rcx",
    "pop rsi",
    "pop rdi",
    "pop rdx",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".pushsection .data.victims, \"aw\", @progbits",
    ".p2align 3",
    "3: .quad 0",
    "4: .quad 0",
    "5: .quad 0",
    "6: .quad 0",
    ".popsection",
    ".popsection",
);

/// Declares functions in assembly together with how to find their bytes.
macro_rules! victims {
    ($($name:ident: $($line:literal)*;)*) => {
        $(
            global_asm!(
                ".pushsection .text.victims, \"ax\", @progbits",
                ".p2align 4, 0xcc",
                concat!(".globl ", stringify!($name), ", ", stringify!($name), "_end"),
                concat!(stringify!($name), ":"),
                $($line,)*
                concat!(stringify!($name), "_end:"),
                ".p2align 4, 0xcc",
                ".popsection",
            );

            pub(crate) mod $name {
                unsafe extern "C" {
                    #[link_name = stringify!($name)]
                    safe fn start();
                    #[link_name = concat!(stringify!($name), "_end")]
                    safe fn end();
                }

                /// Address and length in bytes.
                pub(crate) fn extent() -> (usize, usize) {
                    let address = start as *const () as usize;
                    (address, end as *const () as usize - address)
                }
            }
        )*
    };
}

victims! {
    // Five bytes of nop, then nothing that changes a register.
    victim_pt_regs: "nop dword ptr [rax + rax]" "ret";
    victim_clobber: "nop dword ptr [rax + rax]" "ret";
    victim_return_plain: "nop dword ptr [rax + rax]" "ret";
    victim_return_regs: "mov eax, 0x1234567" "mov edx, 0x7654321" "ret";
    victim_measure: "mov eax, edi" "add eax, esi" "ret" "nop";
    victim_measure_return: "mov eax, edi" "add eax, esi" "ret" "nop";
    victim_measure_both: "mov eax, edi" "add eax, esi" "ret" "nop";
    victim_measure_count: "mov eax, edi" "add eax, esi" "ret" "nop";
    victim_measure_none: "mov eax, edi" "add eax, esi" "ret" "nop";
    victim_threads: "lea rax, [rdi + rsi]" "lea rax, [rax + 1]" "ret";
    victim_threads_return: "lea rax, [rdi + rsi]" "lea rax, [rax + 1]" "ret";
    victim_nested: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_signal: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_lists: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_cpu: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_fork: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_task: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_clock: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_memory: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_print: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_seccomp: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_many: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_spin: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    victim_stress: "lea rax, [rdi + 1]" "lea rax, [rax + 1]" "ret";
    // Ten arguments, four of them on the stack.
    victim_stack_arguments:
        "mov rax, [rsp + 8]" "add rax, [rsp + 16]" "add rax, [rsp + 24]" "add rax, [rsp + 32]" "ret";
    // rip-relative first instruction.
    victim_rip: "mov rax, [rip + 7f]" "add rax, rdi" "ret" "7: .quad 1000";
    // Short conditional jump, loop and call among the displaced instructions.
    victim_branch: "test edi, edi" "jz 7f" "mov eax, 1" "ret" "7: mov eax, 2" "ret";
    victim_call: "push rbx" "call 7f" "pop rbx" "ret" "7: mov rax, [rsp]" "lea rax, [rax + 0]" "ret";
    victim_call_first: "call 7f" "ret" "7: mov rax, [rsp]" "ret";
    // A loop to the function's second instruction: needs the short jump.
    victim_loop_back: "xor eax, eax" "7: add eax, edi" "dec edi" "jnz 7b" "ret" ".fill 8, 1, 0xcc";
    // Shorter than a jump.
    victim_tiny: "xor eax, eax" "ret";
    // fib, recursive.
    victim_fib:
        "cmp edi, 2" "jae 7f" "mov eax, edi" "ret"
        "7: push rbx" "push rdi" "dec edi" "call victim_fib" "mov ebx, eax"
        "pop rdi" "sub edi, 2" "push rdi" "call victim_fib" "pop rdi" "add eax, ebx" "pop rbx" "ret";
    victim_fib_again:
        "cmp edi, 2" "jae 7f" "mov eax, edi" "ret"
        "7: push rbx" "push rdi" "dec edi" "call victim_fib_again" "mov ebx, eax"
        "pop rdi" "sub edi, 2" "push rdi" "call victim_fib_again" "pop rdi" "add eax, ebx" "pop rbx" "ret";
    // Depth rdi, then 0.
    victim_deep: "test rdi, rdi" "jz 7f" "dec rdi" "call victim_deep" "lea rax, [rax + 1]" "ret" "7: xor eax, eax" "ret";
    // Tail calls: a -> b -> c; ping <-> pong.
    victim_tail_a: "lea rdi, [rdi + 1]" "nop" "jmp victim_tail_b";
    victim_tail_b: "lea rdi, [rdi + 2]" "nop" "jmp victim_tail_c";
    victim_tail_c: "lea rax, [rdi + 4]" "nop" "ret";
    victim_ping: "lea rax, [rdi]" "nop dword ptr [rax]" "test rdi, rdi" "jz 7f" "dec rdi" "jmp victim_pong" "7: ret";
    victim_pong: "lea rax, [rdi]" "nop dword ptr [rax]" "test rdi, rdi" "jz 7f" "dec rdi" "jmp victim_ping" "7: ret";
    victim_self: "lea rax, [rdi]" "nop dword ptr [rax]" "test rdi, rdi" "jz 7f" "dec rdi" "jmp victim_self" "7: ret";
    // Leaves without returning: unwinds to the stack pointer and address in rdi and rsi.
    victim_escape: "nop dword ptr [rax + rax]" "mov rsp, rdi" "jmp rsi";
    // Switches to the stack in rsi, storing the own stack pointer to [rdi], and returns there.
    victim_switch: "push rbp" "push rbx" "nop dword ptr [rax]" "mov [rdi], rsp" "mov rsp, rsi" "pop rbx" "pop rbp" "ret";
}
