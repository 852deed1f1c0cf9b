// SPDX-License-Identifier: MIT
// Attaches prints.bpf.o to malloc of every process and detaches it again, over and over, until its
// standard input ends. Says "ready" after the first time.
//
//   toggles PRINTS.BPF.O
#include <poll.h>
#include <stdio.h>

#include <bpf/libbpf.h>

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "malloc");
	struct bpf_object *object = bpf_object__open_file(argc > 1 ? argv[1] : "", NULL);
	struct pollfd input = { .fd = 0, .events = POLLIN };
	struct bpf_program *program;
	int rounds = 0;

	if (!object || bpf_object__load(object))
		return 1;
	program = bpf_object__find_program_by_name(object, "on_entry");
	while (poll(&input, 1, 0) == 0) {
		struct bpf_link *link =
			bpf_program__attach_uprobe_opts(program, -1, "libc.so.6", 0, &options);

		if (!link || bpf_link__destroy(link))
			return 2;
		if (!rounds++) {
			printf("ready\n");
			fflush(stdout);
		}
	}
	return 0;
}
