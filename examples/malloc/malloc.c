// SPDX-License-Identifier: MIT
// Loads malloc.bpf.c, attaches it and prints the counts by process each second.
// A stock libbpf program: nothing here knows of bpftime.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "malloc.skel.h"

struct stats {
	unsigned long long calls;
	unsigned long long bytes;
};

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static void print_table(int map, unsigned int second)
{
	unsigned int key, next, *previous = NULL;
	struct stats stats;

	printf("second %u\n%8s %12s %16s\n", second, "PID", "CALLS", "BYTES");
	while (bpf_map_get_next_key(map, previous, &next) == 0) {
		if (bpf_map_lookup_elem(map, &next, &stats) == 0)
			printf("%8u %12llu %16llu\n", next, stats.calls, stats.bytes);
		key = next;
		previous = &key;
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 0;
	struct sigaction action = { .sa_handler = on_signal };
	struct malloc_bpf *skeleton;
	unsigned int second = 0;
	int error;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	skeleton = malloc_bpf__open_and_load();
	if (!skeleton) {
		fprintf(stderr, "malloc: cannot load the program\n");
		return 1;
	}
	error = malloc_bpf__attach(skeleton);
	if (error) {
		fprintf(stderr, "malloc: cannot attach: %s\n", strerror(-error));
		malloc_bpf__destroy(skeleton);
		return 1;
	}
	fprintf(stderr, "malloc: attached, counting%s\n", seconds ? "" : "; Ctrl-C ends it");
	while (!stop && (!seconds || second < seconds)) {
		sleep(1);
		print_table(bpf_map__fd(skeleton->maps.by_pid), ++second);
	}
	malloc_bpf__destroy(skeleton);
	return 0;
}
