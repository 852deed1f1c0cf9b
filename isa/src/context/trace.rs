//! Contexts of tracing programs.

use super::{CtxField, CtxFieldKind, CtxLayout};

const fn word(name: &'static str, index: u32, narrow: bool) -> CtxField {
    CtxField {
        name,
        offset: 8 * index,
        size: 8,
        kind: CtxFieldKind::Scalar,
        writable: false,
        narrow,
    }
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
pub(super) static PT_REGS: CtxLayout = CtxLayout {
    name: "pt_regs",
    size: 168,
    fields: &pt_regs::<21>(true),
    plain_memory: false,
};

/// Perf events: `struct bpf_perf_event_data`. Registers may be read only as a whole, the other
/// two in pieces (`pe_prog_is_valid_access`).
pub(super) static PERF_EVENT: CtxLayout = CtxLayout {
    name: "bpf_perf_event_data",
    size: 184,
    fields: &{
        let mut fields = pt_regs::<23>(false);
        fields[21] = word("sample_period", 21, true);
        fields[22] = word("addr", 22, true);
        fields
    },
    plain_memory: false,
};

/// Tracepoints: the record of the event, whose fields the kernel does not know at verification.
/// All of it but the first 8 bytes (the kernel's own pointer) may be read in aligned pieces, up
/// to `PERF_MAX_TRACE_SIZE` (`tp_prog_is_valid_access`).
pub(super) static TRACEPOINT: CtxLayout = CtxLayout {
    name: "trace_event",
    size: 8192,
    fields: &[array("record", 8, 8184)],
    plain_memory: false,
};

/// Raw tracepoints: `struct bpf_raw_tracepoint_args`, `MAX_BPF_FUNC_ARGS` words
/// (`bpf_tracing_ctx_access`).
pub(super) static RAW_TRACEPOINT: CtxLayout = CtxLayout {
    name: "bpf_raw_tracepoint_args",
    size: 96,
    fields: &[array("args", 0, 96)],
    plain_memory: false,
};

const fn array(name: &'static str, offset: u32, size: u32) -> CtxField {
    CtxField {
        name,
        offset,
        size,
        kind: CtxFieldKind::Scalar,
        writable: false,
        narrow: true,
    }
}
