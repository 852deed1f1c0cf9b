// SPDX-License-Identifier: MIT
// Receives the records of events.bpf.c and says what was in them.
//
//   events ring|full|perf EXPECTED
//
// `full` leaves a small ring buffer unread until all calls were made.
#include "tool.h"
#include "events.h"
#include "events.skel.h"

#define THREADS 16
// Most CPUs, each of which has a perf buffer of its own: between these there is no order.
#define CPUS 256

static unsigned long received, lost, out_of_order, wrong_text, wrong_fields, not_monotonic;
static unsigned long long next[CPUS][THREADS], last_time[CPUS][THREADS], tids[THREADS];
static unsigned long long pid, uid, latency_sum, latency_most, started;

static void one(const struct event *event, int cpu)
{
	unsigned long long now = now_ns(), late = now - event->ktime;
	unsigned long long thread = event->thread;
	char text[40];

	received++;
	if (cpu < 0 || cpu >= CPUS || thread >= THREADS || event->ktime > now || event->ktime < started) {
		wrong_fields++;
		return;
	}
	latency_sum += late;
	if (late > latency_most)
		latency_most = late;
	out_of_order += event->number < next[cpu][thread];
	next[cpu][thread] = event->number + 1;
	not_monotonic += event->ktime < last_time[cpu][thread];
	last_time[cpu][thread] = event->ktime;
	snprintf(text, sizeof text, "thread %llu call %llu", thread, event->number);
	wrong_text += strcmp(text, event->text) != 0 || event->length != (int)strlen(text) + 1;
	if (!pid) {
		pid = event->pid_tgid >> 32;
		uid = event->uid_gid;
	}
	if (!tids[thread])
		tids[thread] = event->pid_tgid;
	wrong_fields += event->pid_tgid >> 32 != pid || event->uid_gid != uid ||
			event->pid_tgid != tids[thread] || (unsigned int)event->pid_tgid == pid ||
			strcmp(event->comm, "subject") != 0 || event->bad_read != -EFAULT;
}

static int on_ring(void *context, void *data, size_t size)
{
	(void)context;
	wrong_fields += size != sizeof(struct event);
	one(data, 0);
	return 0;
}

static void on_perf(void *context, int cpu, void *data, unsigned int size)
{
	(void)context;
	wrong_fields += cpu < 0 || cpu >= libbpf_num_possible_cpus();
	// The kernel rounds records up to 8 bytes together with their 4-byte size.
	wrong_fields += size < sizeof(struct event) || size >= sizeof(struct event) + 8;
	one(data, cpu);
}

static void on_lost(void *context, int cpu, unsigned long long count)
{
	(void)context;
	(void)cpu;
	lost += count;
}

int main(int argc, char **argv)
{
	int full = argc > 1 && !strcmp(argv[1], "full"), perf = argc > 1 && !strcmp(argv[1], "perf");
	unsigned long expected = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct events_bpf *skeleton = events_bpf__open();
	struct perf_buffer *buffer = NULL;
	struct ring_buffer *ring = NULL;
	unsigned long long deadline;

	must(skeleton != NULL, "open");
	if (full)
		bpf_map__set_max_entries(skeleton->maps.ring, 4096);
	must(events_bpf__load(skeleton) == 0, "load");
	if (perf)
		buffer = perf_buffer__new(bpf_map__fd(skeleton->maps.perf), 64, on_perf, on_lost, NULL, NULL);
	else
		ring = ring_buffer__new(bpf_map__fd(skeleton->maps.ring), on_ring, NULL, NULL);
	must(ring || buffer, "buffer");
	attach(perf ? skeleton->progs.to_perf : skeleton->progs.to_ring, 0, -1, "./subject", "work", 0);
	started = now_ns();
	deadline = started + 10000000000ULL;
	attached();
	while (full && now_ns() < deadline &&
	       (unsigned long)(skeleton->bss->made + skeleton->bss->dropped) < expected)
		usleep(1000);
	while (received + lost + (unsigned long)(perf ? 0 : skeleton->bss->dropped) < expected && now_ns() < deadline) {
		int count = perf ? perf_buffer__poll(buffer, 100) : ring_buffer__poll(ring, 100);

		must(count >= 0 || count == -EINTR, "poll");
	}
	// The program counts a record after it has given it.
	while ((unsigned long)(skeleton->bss->made + skeleton->bss->dropped) < expected && now_ns() < deadline)
		usleep(1000);
	printf("received %lu lost %lu made %ld dropped %ld\n", received, lost, skeleton->bss->made,
	       skeleton->bss->dropped);
	printf("out-of-order %lu not-monotonic %lu wrong-text %lu wrong-fields %lu\n", out_of_order,
	       not_monotonic, wrong_text, wrong_fields);
	printf("pid %llu uid %llu\n", pid, uid & 0xffffffff);
	printf("latency-us mean %llu most %llu\n", received ? latency_sum / received / 1000 : 0,
	       latency_most / 1000);
	ring_buffer__free(ring);
	perf_buffer__free(buffer);
	events_bpf__destroy(skeleton);
	return 0;
}
