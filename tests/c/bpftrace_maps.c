// Loaded into bpftrace (LD_PRELOAD): prints the maps that a script needs, in the order in which bpftrace makes
// them, which is also the order of the numbers in objects of `bpftrace --emit-elf`: type, size of keys, size of
// values, entries and flags, separated by blanks, to the file that $BPFTRACE_MAPS names. The array for events is
// the last one; after it there is nothing more to learn, and bpftrace ends.
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int make(enum bpf_map_type, const char *, __u32, __u32, __u32, const struct bpf_map_create_opts *);

int bpf_map_create(enum bpf_map_type type, const char *name, __u32 key_size, __u32 value_size, __u32 entries,
		   const struct bpf_map_create_opts *options)
{
	FILE *file = fopen(getenv("BPFTRACE_MAPS"), "a");
	if (!file)
		_exit(1);
	fprintf(file, "%u %u %u %u %u\n", type, key_size, value_size, entries, options ? options->map_flags : 0);
	fclose(file);
	if (type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		_exit(0);
	make *real = (make *)dlsym(RTLD_NEXT, "bpf_map_create");
	return real(type, name, key_size, value_size, entries, options);
}
