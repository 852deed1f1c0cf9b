// SPDX-License-Identifier: MIT
// Loads prints.bpf.o for some processes, says "ready", and waits for the end of its standard input.
//
//   prints PRINTS.BPF.O PID...
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/libbpf.h>

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "malloc");
	struct bpf_object *object = bpf_object__open_file(argc > 1 ? argv[1] : "", NULL);
	struct bpf_program *program;
	char byte;

	if (!object || bpf_object__load(object))
		return 1;
	program = bpf_object__find_program_by_name(object, "on_entry");
	for (int i = 2; i < argc; i++) {
		if (!bpf_program__attach_uprobe_opts(program, atoi(argv[i]), "libc.so.6", 0,
						     &options))
			return 2;
	}
	printf("ready\n");
	fflush(stdout);
	return read(0, &byte, 1) == 0 ? 0 : 3;
}
