// SPDX-License-Identifier: MIT
// Attaches counts.bpf.c in one of several ways and prints the counts once a file is there.
//
//   counts MODE END-FILE [PATH [PID [FUNCTION]]]
//
//   count     work() and climb() with cookies 1 and 2
//   work      work() only, without a cookie's meaning
//   thread    work() of thread 1 only, by a constant set before the load
//   function  the named function only, once
//   twice     two programs and a second link of the first on work()
//   globals   changes a variable of the running program
//   times     durations and results of nap()
//   results   depths and results of climb(), which calls itself
//   print     bpf_printk in work()
//   loop      a function that is called back, in work()
#include "tool.h"
#include "counts.skel.h"

static struct counts_bpf *skeleton;

static unsigned long long all_cpus(int map, const void *key)
{
	unsigned long long sum = 0, *values;
	int cpus = libbpf_num_possible_cpus();

	must(cpus > 0, "possible CPUs");
	values = calloc((size_t)cpus, sizeof *values);
	must(values != NULL, "memory");
	if (bpf_map_lookup_elem(map, key, values) == 0)
		for (int cpu = 0; cpu < cpus; cpu++)
			sum += values[cpu];
	free(values);
	return sum;
}

static void wait_for(const char *file)
{
	for (int i = 0; i < 15000 && access(file, F_OK); i++)
		usleep(1000);
}

// Sets a variable and waits until the program has computed with it.
static void set_factor(long factor)
{
	volatile long *product = &skeleton->bss->product;

	skeleton->data->factor = factor;
	for (int i = 0; i < 5000 && *product != factor * 7; i++)
		usleep(1000);
	printf("product %ld\n", *product);
}

static void print_counts(void)
{
	unsigned int keys[16], count = 16, batch;
	unsigned long long values[16], key, address;
	unsigned int zero = 0, one = 1;

	printf("calls %llu numbers %llu\n", all_cpus(bpf_map__fd(skeleton->maps.cpu_array), &zero),
	       all_cpus(bpf_map__fd(skeleton->maps.cpu_array), &one));
	for (key = 0; key < 16; key++) {
		unsigned long long sum = all_cpus(bpf_map__fd(skeleton->maps.cpu_hash), &key);

		if (sum)
			printf("thread %llu: %llu\n", key, sum);
	}
	if (bpf_map_lookup_batch(bpf_map__fd(skeleton->maps.by_cookie), NULL, &batch, keys, values, &count,
				 NULL) && errno != ENOENT)
		printf("batch: %s\n", strerror(errno));
	for (unsigned int i = 0; i < count; i++)
		if (values[i])
			printf("cookie %u: %llu\n", keys[i], values[i]);
	for (key = 0; key < 16; key++)
		if (!bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.addresses), &key, &address))
			printf("address %llu 0x%llx\n", key, address);
}

static void print_returns(void)
{
	printf("entries %ld returns %ld results %ld unmatched %ld deepest %ld\n", skeleton->bss->entries,
	       skeleton->bss->returns, skeleton->bss->result_sum, skeleton->bss->unmatched,
	       skeleton->bss->deepest);
	printf("rounds %ld sums %ld\n", skeleton->bss->loop_rounds, skeleton->bss->loop_sums);
	printf("shortest-us %ld\n", skeleton->data->shortest / 1000);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "count", *end = argc > 2 ? argv[2] : "end";
	const char *path = argc > 3 ? argv[3] : "./subject";
	int pid = argc > 4 ? atoi(argv[4]) : -1;
	struct bpf_link *second = NULL;

	skeleton = counts_bpf__open();
	must(skeleton != NULL, "open");
	if (!strcmp(mode, "thread"))
		skeleton->rodata->only_thread = 1;
	must(counts_bpf__load(skeleton) == 0, "load");
	if (!strcmp(mode, "count")) {
		attach(skeleton->progs.count, 0, pid, path, "work", 1);
		attach(skeleton->progs.count, 0, pid, path, "climb", 2);
	} else if (!strcmp(mode, "function")) {
		attach(skeleton->progs.count, 0, pid, path, argc > 5 ? argv[5] : "hidden", 1);
	} else if (!strcmp(mode, "twice")) {
		attach(skeleton->progs.count, 0, pid, path, "work", 1);
		second = attach(skeleton->progs.count, 0, pid, path, "work", 3);
		attach(skeleton->progs.say, 0, pid, path, "work", 0);
	} else if (!strcmp(mode, "times") || !strcmp(mode, "results")) {
		const char *function = !strcmp(mode, "times") ? "nap" : "climb";

		attach(skeleton->progs.enter, 0, pid, path, function, 0);
		attach(skeleton->progs.leave, 1, pid, path, function, 0);
	} else if (!strcmp(mode, "loop")) {
		attach(skeleton->progs.loop, 0, pid, path, "work", 0);
	} else if (!strcmp(mode, "print")) {
		attach(skeleton->progs.say, 0, pid, path, "work", 0);
	} else {
		attach(skeleton->progs.count, 0, pid, path, "work", 1);
	}
	attached();
	if (!strcmp(mode, "globals")) {
		set_factor(10);
		set_factor(-4);
		set_factor(3);
	}
	wait_for(end);
	print_counts();
	print_returns();
	bpf_link__destroy(second);
	counts_bpf__destroy(skeleton);
	return 0;
}
