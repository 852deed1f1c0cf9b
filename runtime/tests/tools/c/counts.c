// SPDX-License-Identifier: MIT
// Attaches prints.bpf.o to a function of a file in a process, says "ready", and for each line that it
// reads how often the function was called.
//
//   counts PRINTS.BPF.O PID FILE FUNCTION
#include <stdio.h>
#include <stdlib.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	struct bpf_object *object = bpf_object__open_file(argc == 5 ? argv[1] : "", NULL);
	struct bpf_program *program;
	unsigned long long calls;
	unsigned int key = 0;
	char line[64];
	int fd;

	if (!object || bpf_object__load(object))
		return 1;
	options.func_name = argv[4];
	program = bpf_object__find_program_by_name(object, "on_entry");
	if (!bpf_program__attach_uprobe_opts(program, atoi(argv[2]), argv[3], 0, &options))
		return 2;
	fd = bpf_object__find_map_fd_by_name(object, "prints.bss");
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (bpf_map_lookup_elem(fd, &key, &calls))
			return 3;
		printf("%llu\n", calls);
		fflush(stdout);
	}
	return 0;
}
