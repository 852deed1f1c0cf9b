// SPDX-License-Identifier: MIT
// Prints a numbered line at each call of malloc for 5000 bytes or more, in both ways that there are.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

__u64 calls = 0;

SEC("uprobe")
int on_entry(struct pt_regs *ctx)
{
	__u64 number;

	if (PT_REGS_PARM1(ctx) < 5000)
		return 0;
	// One thread at a time calls it.
	number = calls++;
	if (number % 2)
		bpf_printk("call %llu", number);
	else
		bpf_printk("call %llu of %d %d %s", number, 1, 2, "more");
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
