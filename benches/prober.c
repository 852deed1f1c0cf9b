// SPDX-License-Identifier: MIT
// Attaches one program of probe.bpf.o to one function, says so, and waits for end of input.
// A stock libbpf program, run on the kernel and under bpftime alike.
//
//   prober OBJECT PROGRAM entry|return BINARY FUNCTION
//
// With the program `increment`, the count is printed at the end.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options);
	unsigned long long key = 0, count = 0;
	struct bpf_program *program;
	struct bpf_object *object;
	struct bpf_link *link;
	char byte;

	if (argc != 6)
		return 2;
	object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object))
		return 1;
	program = bpf_object__find_program_by_name(object, argv[2]);
	if (!program)
		return 1;
	options.retprobe = !strcmp(argv[3], "return");
	options.func_name = argv[5];
	link = bpf_program__attach_uprobe_opts(program, -1, argv[4], 0, &options);
	if (!link)
		return 1;
	puts("attached");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "counts"), &key, &count);
	printf("%llu\n", count);
	bpf_link__destroy(link);
	bpf_object__close(object);
	return 0;
}
