// SPDX-License-Identifier: MIT
// One record per call of work(): who called, when, with which arguments.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "events.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

long made, dropped;

static __always_inline void fill(struct event *event, struct pt_regs *ctx)
{
	event->ktime = bpf_ktime_get_ns();
	event->pid_tgid = bpf_get_current_pid_tgid();
	event->uid_gid = bpf_get_current_uid_gid();
	event->thread = PT_REGS_PARM1(ctx);
	event->number = PT_REGS_PARM2(ctx);
	bpf_get_current_comm(event->comm, sizeof event->comm);
	event->length = bpf_probe_read_user_str(event->text, sizeof event->text, (void *)PT_REGS_PARM3(ctx));
	event->bad_read = bpf_probe_read_user(event->nothing, sizeof event->nothing, (void *)8);
}

SEC("uprobe")
int to_ring(struct pt_regs *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof *event, 0);

	if (!event) {
		__sync_fetch_and_add(&dropped, 1);
		return 0;
	}
	fill(event, ctx);
	__sync_fetch_and_add(&made, 1);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("uprobe")
int to_perf(struct pt_regs *ctx)
{
	struct event event = {};

	fill(&event, ctx);
	if (bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &event, sizeof event))
		__sync_fetch_and_add(&dropped, 1);
	else
		__sync_fetch_and_add(&made, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
