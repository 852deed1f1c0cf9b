//! What unwinders are told of return points.
//!
//! An unwinder (of C++ exceptions, Rust panics, `pthread_cancel`, backtraces) that meets a return
//! point on a stack asks what is known of that address: `_Unwind_Find_FDE` of libgcc, which in turn asks
//! `_dl_find_object` of glibc. Both are hooked ([`HOOK_UNWIND`](bpftime_abi::target::HOOK_UNWIND)),
//! and for a return point they answer with the frame description below: a frame without registers of its own,
//! whose return address is what the table of returns has for the stack slot. Nothing is written, so
//! the returns that an exception does not skip are seen as ever.
//!
//! The frame has the same canonical frame address as its caller. libgcc, which in its second
//! phase knows the frame that catches by that address, must not take the one for the other; it
//! keeps those apart that were interrupted by a signal. So this frame says that it is a signal's, and gives the
//! return address less one, because the program counter that a signal interrupted is not that of
//! an instruction after a call.

use core::arch::global_asm;
use core::mem::{offset_of, size_of};

use bpftime_abi::target::{
    Config, HASH_MULTIPLIER, HookDispatch, RETURN_ENTRIES, RETURN_LIVE, RETURN_WINDOW, ReturnEntry,
    State,
};

/// Right shift of the product that leaves the number of the window.
const WINDOW_SHIFT: u32 = 64 - (RETURN_ENTRIES / RETURN_WINDOW).trailing_zeros();
const WINDOW_SHIFT_LEFT: u32 = (RETURN_WINDOW * size_of::<ReturnEntry>()).trailing_zeros();

const _: () = {
    assert!(size_of::<HookDispatch>() == 64);
    assert!(size_of::<ReturnEntry>() == 16 && offset_of!(ReturnEntry, return_address) == 8);
    assert!(RETURN_WINDOW == 4 && RETURN_LIVE == 1);
    assert!(WINDOW_SHIFT_LEFT < 32 && WINDOW_SHIFT < 64);
};

global_asm!(
    // Called by trampolines at function entry, with the arguments of the function. Returns, with
    // every register as it was, unless rdi is a return point, or one less; then goes to `\\found` with
    // rax the return point, rcx and rdx free, and rsp at the return address of the hooked function.
    ".macro FIND_RETURN_POINT found",
    "push rax",
    "push rcx",
    "push rdx",
    "mov edx, [rip + {state} + {hooks_used}]",
    "lea rcx, [rip + {state} + {hooks} + {return_point}]",
    "12:",
    "dec edx",
    "js 14f",
    "mov rax, [rcx]",
    "add rcx, 64",
    "test rax, rax",
    "jz 12b",
    "sub rax, rdi",
    "cmp rax, 1",
    "ja 12b",
    "add rax, rdi",
    "lea rsp, [rsp + 32]",
    "jmp \\found",
    "14:",
    "pop rdx",
    "pop rcx",
    "pop rax",
    "ret",
    ".endm",
    "",
    ".pushsection .text.dispatch, \"ax\", @progbits",
    // const void *_Unwind_Find_FDE(void *pc, struct { void *text, *data, *function; } *bases)
    ".p2align 6",
    ".globl bpftime_find_fde",
    "bpftime_find_fde:",
    "FIND_RETURN_POINT 13f",
    "13:",
    // The function starts before, or else none of the description would be carried out.
    "dec rax",
    "mov [rsi + 16], rax",
    "xor eax, eax",
    "mov [rsi], rax",
    "mov [rsi + 8], rax",
    "lea rax, [rip + bpftime_return_fde]",
    "ret",
    "",
    // int _dl_find_object(void *pc, struct dl_find_object *result)
    ".p2align 6",
    ".globl bpftime_find_object",
    "bpftime_find_object:",
    "FIND_RETURN_POINT 13f",
    "13:",
    // The object is the return point alone.
    "dec rax",
    "mov [rsi + 8], rax",
    "add rax, 2",
    "mov [rsi + 16], rax",
    "xor eax, eax",
    "mov [rsi], rax",
    "mov [rsi + 24], rax",
    "lea rcx, [rip + bpftime_eh_frame_hdr]",
    "mov [rsi + 32], rcx",
    "ret",
    ".popsection",
    "",
    // It holds addresses, which are relocated before the image is mapped.
    ".pushsection .data.rel.ro.unwind, \"aw\", @progbits",
    ".p2align 3",
    "bpftime_eh_frame_hdr:",
    // Version 1; the frames follow at a relative address of 4 bytes; no table to search.
    ".byte 1, 0x1b, 0xff, 0xff",
    ".long bpftime_return_cie - .",
    "bpftime_return_cie:",
    ".long 11f - 10f",
    "10:",
    ".long 0",
    ".byte 1",
    // Augmentation: a length, the encoding of addresses (0: 8 bytes, absolute), a signal's frame.
    ".asciz \"zRS\"",
    ".uleb128 1",
    ".sleb128 -8",
    // Column 16 is the return address.
    ".byte 16",
    ".uleb128 1",
    ".byte 0",
    ".p2align 3, 0",
    "11:",
    "bpftime_return_fde:",
    ".long 11f - 10f",
    "10:",
    ".long 10b - bpftime_return_cie",
    // For all addresses: who asks has been told that this is the one.
    ".quad 1",
    ".quad 0x7fffffffffffffff",
    ".uleb128 0",
    // DW_CFA_def_cfa: rsp + 0
    ".byte 0x0c, 7, 0",
    // DW_CFA_val_expression of the return address; starts with the frame address on the stack.
    ".byte 0x16, 16",
    ".uleb128 29f - 20f",
    "20:",
    // dup, lit8, minus: S, the stack slot
    ".byte 0x12, 0x38, 0x1c",
    // dup, lit3, shr, const8u, mul, const1u, shr: the window
    ".byte 0x12, 0x33, 0x25, 0x0e",
    ".quad {multiplier}",
    ".byte 0x1e, 0x08, {window_shift}, 0x25",
    // const1u, shl, const8u, plus
    ".byte 0x08, {window_shift_left}, 0x24, 0x0e",
    ".quad {state} + {returns}",
    ".byte 0x22",
    // lit4: i, as many passes over the window as it has entries; pick 2, deref: A, what the stack
    // slot holds
    ".byte 0x34, 0x15, 2, 0x06",
    // Each pass with the stack: S, window, i, A, and from here on (lit0, swap) how many entries of
    // this stack slot there are before A.
    "21:",
    ".byte 0x30, 0x16",
    ".irp offset, 0, 16, 32, 48",
    // pick 3, plus_uconst, deref: the key of an entry; is it in use and of this stack slot?
    ".byte 0x15, 3, 0x23, \\offset, 0x06",
    // pick 5, xor, lit16, shl, const4u, ne, bra
    ".byte 0x15, 5, 0x27, 0x40, 0x24, 0x0c",
    ".long {live} << 16",
    ".byte 0x2e, 0x28",
    ".short 22f - . - 2",
    // swap, lit1, plus, swap: it is counted
    ".byte 0x16, 0x31, 0x22, 0x16",
    // pick 3, plus_uconst, deref, const1u, shr, lit6, shl, const8u, plus, deref: the return point of
    // its hook
    ".byte 0x15, 3, 0x23, \\offset, 0x06, 0x08, 48, 0x25, 0x36, 0x24, 0x0e",
    ".quad {state} + {hooks} + {return_point}",
    ".byte 0x22, 0x06",
    // over, ne, bra: is that A?
    ".byte 0x14, 0x2e, 0x28",
    ".short 22f - . - 2",
    // drop, pick 2, plus_uconst, deref: A becomes what the entry has
    ".byte 0x13, 0x15, 2, 0x23, \\offset + 8, 0x06",
    "22:",
    ".endr",
    // swap, lit2, lt, bra: all is done unless there are several
    ".byte 0x16, 0x32, 0x2d, 0x28",
    ".short 24f - . - 2",
    // swap, lit1, minus, swap, over, bra: the next pass, for A may be another hook's return point
    ".byte 0x16, 0x31, 0x1c, 0x16, 0x14, 0x28",
    ".short 21b - . - 2",
    "24:",
    // pick 3, deref, over, eq, bra: unknown return points end the stack
    ".byte 0x15, 3, 0x06, 0x14, 0x29, 0x28",
    ".short 25f - . - 2",
    // lit1, minus, skip
    ".byte 0x31, 0x1c, 0x2f",
    ".short 29f - . - 2",
    // lit0
    "25: .byte 0x30",
    "29:",
    ".p2align 3, 0",
    "11:",
    ".long 0",
    ".popsection",
    state = sym crate::header::STATE,
    hooks_used = const offset_of!(State, config) + offset_of!(Config, hooks_used),
    hooks = const offset_of!(State, hooks),
    returns = const offset_of!(State, returns),
    return_point = const offset_of!(HookDispatch, return_point),
    multiplier = const HASH_MULTIPLIER,
    window_shift = const WINDOW_SHIFT,
    window_shift_left = const WINDOW_SHIFT_LEFT,
    live = const RETURN_LIVE,
);
