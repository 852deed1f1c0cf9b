//! Contexts of tracing programs.

use super::{CtxField, CtxLayout, Object, Pieces};

const fn word(name: &'static str, index: u32, narrow: bool) -> CtxField {
    let field = CtxField::scalar(name, 8 * index, 8);
    if narrow { field.narrow() } else { field }
}

/// Names of `struct pt_regs` as `asm/ptrace.h` has them for x86-64, in order.
const PT_REGS_NAMES: [&str; 21] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
];

const fn pt_regs<const N: usize>(narrow: bool) -> [CtxField; N] {
    let mut fields = [word("", 0, narrow); N];
    let mut index = 0;
    while index < PT_REGS_NAMES.len() {
        fields[index] = word(PT_REGS_NAMES[index], index as u32, narrow);
        index += 1;
    }
    fields
}

/// Kprobes and uprobes: `struct pt_regs` of x86-64. Any aligned piece of a register may be read
/// (`kprobe_prog_is_valid_access` in `kernel/trace/bpf_trace.c`).
pub(super) static PT_REGS: CtxLayout = CtxLayout::new("pt_regs", 168, &pt_regs::<21>(true));

/// Perf events: `struct bpf_perf_event_data`. Registers may be read only as a whole, the other
/// two in pieces (`pe_prog_is_valid_access`).
pub(super) static PERF_EVENT: CtxLayout =
    CtxLayout::new("bpf_perf_event_data", 184, &PERF_EVENT_FIELDS);

const PERF_EVENT_FIELDS: [CtxField; 23] = {
    let mut fields = pt_regs::<23>(false);
    fields[21] = word("sample_period", 21, true);
    fields[22] = word("addr", 22, true);
    fields
};

/// Tracepoints: the record of the event, whose fields the kernel does not know at verification.
/// All of it but the first 8 bytes (the kernel's own pointer) may be read in aligned pieces, up
/// to `PERF_MAX_TRACE_SIZE` (`tp_prog_is_valid_access`).
pub(super) static TRACEPOINT: CtxLayout =
    CtxLayout::new("trace_event", 8192, &[array("record", 8, 8184)]);

/// Raw tracepoints: `struct bpf_raw_tracepoint_args`, `MAX_BPF_FUNC_ARGS` words
/// (`bpf_tracing_ctx_access`).
pub(super) static RAW_TRACEPOINT: CtxLayout =
    CtxLayout::new("bpf_raw_tracepoint_args", 96, &[array("args", 0, 96)]);

/// Writable raw tracepoints: the first word is the address of a buffer that programs may write
/// (`raw_tp_writable_prog_is_valid_access`).
pub(super) static RAW_TRACEPOINT_WRITABLE: CtxLayout = CtxLayout::new(
    "bpf_raw_tracepoint_args",
    96,
    &[
        CtxField::object("args[0]", 0, Object::TraceBuffer, false),
        array("args[1..]", 8, 88),
    ],
);

/// Memory whose size is not known when the program is verified: any constant offset that is not negative
/// (`__check_buffer_access`).
pub(super) static BUFFER: CtxLayout = CtxLayout::new(
    "buffer",
    MAX_BUFFER,
    &[READ_ONLY.writable(Pieces::Unaligned)],
);

/// As [`BUFFER`], but read-only.
pub(super) static READ_ONLY_BUFFER: CtxLayout = CtxLayout::new("buffer", MAX_BUFFER, &[READ_ONLY]);

const READ_ONLY: CtxField = CtxField::scalar("buffer", 0, MAX_BUFFER).parts(Pieces::Unaligned);

/// Offsets are positive 32-bit numbers.
const MAX_BUFFER: u32 = 0x7fff_ffff;

/// System call programs: what the caller of `BPF_PROG_TEST_RUN` gives; a program is not run if that is
/// shorter than what it accesses (`syscall_prog_is_valid_access` in `kernel/bpf/syscall.c`).
pub(super) static SYSCALL: CtxLayout = CtxLayout::new(
    "syscall arguments",
    MAX_ARGUMENTS,
    &[array("args", 0, MAX_ARGUMENTS).writable(Pieces::AtLeast(1))],
);

/// `U16_MAX`.
const MAX_ARGUMENTS: u32 = 0xffff;

/// Infrared decoders: one sample (`lirc_mode2_is_valid_access` in `drivers/media/rc/bpf-lirc.c`).
pub(super) static LIRC: CtxLayout =
    CtxLayout::new("lirc sample", 4, &[CtxField::scalar("sample", 0, 4)]);

const fn array(name: &'static str, offset: u32, size: u32) -> CtxField {
    CtxField::scalar(name, offset, size).narrow()
}
