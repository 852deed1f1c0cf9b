// SPDX-License-Identifier: MIT
// Loads events.bpf.o for one process, says "ready", and when its standard input ends says how
// many calls it heard of in each way. A stock libbpf program.
//
//   events EVENTS.BPF.O PID LEAST
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

struct event {
	unsigned int pid, returned;
	unsigned long long word;
	char comm[16];
};

static unsigned long long records, samples, lost, strange;
static unsigned int expected_pid;

static void check(const struct event *event, unsigned int returned)
{
	strange += event->pid != expected_pid || event->returned != returned || !event->word ||
		   (!returned && strcmp(event->comm, "calls_malloc"));
}

static int on_record(void *context, void *data, size_t size)
{
	(void)context;
	(void)size;
	records++;
	check(data, 0);
	return 0;
}

static void on_sample(void *context, int cpu, void *data, unsigned int size)
{
	(void)context;
	(void)cpu;
	(void)size;
	samples++;
	check(data, 1);
}

static void on_lost(void *context, int cpu, unsigned long long count)
{
	(void)context;
	(void)cpu;
	lost += count;
}

static struct bpf_link *attach(struct bpf_object *object, const char *name, int pid, bool returns)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "malloc", .retprobe = returns);
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return bpf_program__attach_uprobe_opts(program, pid, "libc.so.6", 0, &options);
}

int main(int argc, char **argv)
{
	struct bpf_object *object = bpf_object__open_file(argc > 1 ? argv[1] : "", NULL);
	int pid = argc > 2 ? atoi(argv[2]) : -1, cpus = libbpf_num_possible_cpus();
	unsigned long long least = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	unsigned long long *by_cpu = calloc(cpus, sizeof(*by_cpu)), sum = 0, total = 0;
	struct pollfd input = { .fd = 0, .events = POLLIN };
	struct bpf_link *entry, *returns;
	struct ring_buffer *ring;
	struct perf_buffer *perf;
	unsigned int key = 0;

	expected_pid = (unsigned int)pid;
	if (!object)
		return 1;
	bpf_map__set_initial_value(bpf_object__find_map_by_name(object, ".rodata"), &least,
				   sizeof(least));
	if (bpf_object__load(object))
		return 2;
	entry = attach(object, "on_entry", pid, false);
	returns = attach(object, "on_return", pid, true);
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "records"), on_record, NULL,
				NULL);
	perf = perf_buffer__new(bpf_object__find_map_fd_by_name(object, "samples"), 64, on_sample,
				on_lost, NULL, NULL);
	if (!entry || !returns || !ring || !perf)
		return 3;
	printf("ready\n");
	fflush(stdout);
	while (poll(&input, 1, 0) == 0) {
		ring_buffer__poll(ring, 20);
		perf_buffer__poll(perf, 20);
	}
	// What was written before standard input ended is there by now.
	ring_buffer__consume(ring);
	perf_buffer__consume(perf);
	bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "by_cpu"), &key, by_cpu);
	for (int cpu = 0; cpu < cpus; cpu++)
		sum += by_cpu[cpu];
	bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, ".bss"), &key, &total);
	printf("records %llu samples %llu by_cpu %llu total %llu lost %llu strange %llu\n", records,
	       samples, sum, total, lost, strange);
	bpf_link__destroy(entry);
	bpf_link__destroy(returns);
	ring_buffer__free(ring);
	perf_buffer__free(perf);
	bpf_object__close(object);
	return 0;
}
