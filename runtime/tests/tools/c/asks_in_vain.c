// SPDX-License-Identifier: MIT
// Asks for raw tracepoints, of which there are none, and says so at the end.
//
//   asks_in_vain TIMES
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long times = argc > 1 ? atol(argv[1]) : 1;
	union bpf_attr attr = { 0 };

	for (long i = 0; i < times; i++) {
		if (syscall(SYS_bpf, BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof(attr)) != -1 ||
		    errno != EOPNOTSUPP)
			return 1;
	}
	puts("done");
	return 0;
}
