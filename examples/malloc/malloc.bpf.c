// SPDX-License-Identifier: MIT
// Counts calls of libc's malloc by process.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct stats {
	__u64 calls;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct stats);
} by_pid SEC(".maps");

SEC("uprobe/libc.so.6:malloc")
int count_malloc(struct pt_regs *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 size = PT_REGS_PARM1(ctx);
	struct stats first = { .calls = 1, .bytes = size };
	struct stats *seen = bpf_map_lookup_elem(&by_pid, &pid);

	if (!seen && bpf_map_update_elem(&by_pid, &pid, &first, BPF_NOEXIST) == 0)
		return 0;
	if (!seen)
		seen = bpf_map_lookup_elem(&by_pid, &pid);
	if (seen) {
		__sync_fetch_and_add(&seen->calls, 1);
		__sync_fetch_and_add(&seen->bytes, size);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
