// SPDX-License-Identifier: MIT
// Counts calls of malloc in every way that a program can tell: global variable, per-CPU array,
// ring buffer, and at the return a perf buffer.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
	__u32 pid;
	__u32 returned;
	__u64 word;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	/* Room for every record of the test, however slow the consumer is. */
	__uint(max_entries, 262144);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} by_cpu SEC(".maps");

const volatile __u64 least = 0;
__u64 total = 0;

SEC("uprobe")
int on_entry(struct pt_regs *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&by_cpu, &key);
	struct event *event;

	if (PT_REGS_PARM1(ctx) < least)
		return 0;
	if (count)
		*count += 1;
	__sync_fetch_and_add(&total, 1);
	event = bpf_ringbuf_reserve(&records, sizeof(*event), 0);
	if (!event)
		return 0;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->returned = 0;
	event->word = PT_REGS_PARM1(ctx);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("uretprobe")
int on_return(struct pt_regs *ctx)
{
	struct event event = {};

	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.returned = 1;
	event.word = PT_REGS_RC(ctx);
	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
