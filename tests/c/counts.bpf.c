// SPDX-License-Identifier: MIT
// Counts in maps of each kind, from the functions that counts.c attaches to.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} cpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} cpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} by_cookie SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} addresses SEC(".maps");

// What was open at a time, by thread and depth.
struct entry {
	__u32 tid;
	__u32 depth;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct entry);
	__type(value, __u64);
} open_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} depths SEC(".maps");

const volatile __u64 only_thread = ~0ULL;
long factor = 3;
long product;
long entries, returns, result_sum, shortest = -1, unmatched, deepest;

SEC("uprobe")
int count(struct pt_regs *ctx)
{
	__u32 zero = 0, one = 1;
	__u64 thread = PT_REGS_PARM1(ctx), first = 1;
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u64 address = bpf_get_func_ip(ctx);
	__u32 place = cookie & 15;
	__u64 *value;

	if (only_thread != ~0ULL && thread != only_thread)
		return 0;
	product = factor * 7;
	value = bpf_map_lookup_elem(&cpu_array, &zero);
	if (value)
		*value += 1;
	value = bpf_map_lookup_elem(&cpu_array, &one);
	if (value)
		*value += PT_REGS_PARM2(ctx);
	value = bpf_map_lookup_elem(&cpu_hash, &thread);
	if (value)
		*value += 1;
	else if (thread < 16)
		bpf_map_update_elem(&cpu_hash, &thread, &first, BPF_ANY);
	value = bpf_map_lookup_elem(&by_cookie, &place);
	if (value)
		__sync_fetch_and_add(value, 1);
	bpf_map_update_elem(&addresses, &cookie, &address, BPF_ANY);
	return 0;
}

struct sum {
	long of;
	long unused;
};
long loop_rounds, loop_sums;

static long add(__u32 round, void *context)
{
	struct sum *sum = context;

	sum->of += round;
	return round == 20;
}

// The sum of the numbers below the call's, of 21 numbers at most.
SEC("uprobe")
int loop(struct pt_regs *ctx)
{
	struct sum sum = {};
	long rounds = bpf_loop(PT_REGS_PARM2(ctx) & 31, add, &sum, 0);

	__sync_fetch_and_add(&loop_rounds, rounds);
	__sync_fetch_and_add(&loop_sums, sum.of);
	return 0;
}

SEC("uprobe")
int enter(struct pt_regs *ctx)
{
	struct entry entry = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 now = bpf_ktime_get_ns();
	__u32 zero = 0;
	__u32 *depth = bpf_map_lookup_elem(&depths, &entry.tid);

	if (!depth) {
		bpf_map_update_elem(&depths, &entry.tid, &zero, BPF_ANY);
		depth = bpf_map_lookup_elem(&depths, &entry.tid);
		if (!depth)
			return 0;
	}
	entry.depth = *depth;
	*depth += 1;
	if (*depth > deepest)
		deepest = *depth;
	bpf_map_update_elem(&open_calls, &entry, &now, BPF_ANY);
	__sync_fetch_and_add(&entries, 1);
	return 0;
}

SEC("uretprobe")
int leave(struct pt_regs *ctx)
{
	struct entry entry = { .tid = (__u32)bpf_get_current_pid_tgid() };
	__u64 now = bpf_ktime_get_ns();
	__u32 *depth = bpf_map_lookup_elem(&depths, &entry.tid);
	__u64 *since;

	__sync_fetch_and_add(&returns, 1);
	__sync_fetch_and_add(&result_sum, PT_REGS_RC(ctx));
	if (!depth || !*depth) {
		__sync_fetch_and_add(&unmatched, 1);
		return 0;
	}
	*depth -= 1;
	entry.depth = *depth;
	since = bpf_map_lookup_elem(&open_calls, &entry);
	if (!since) {
		__sync_fetch_and_add(&unmatched, 1);
		return 0;
	}
	if (shortest < 0 || now - *since < shortest)
		shortest = now - *since;
	bpf_map_delete_elem(&open_calls, &entry);
	return 0;
}

SEC("uprobe")
int say(struct pt_regs *ctx)
{
	bpf_printk("work of %d: %d", (int)PT_REGS_PARM1(ctx), (int)PT_REGS_PARM2(ctx));
	__sync_fetch_and_add(&entries, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
