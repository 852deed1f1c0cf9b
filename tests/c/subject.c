// SPDX-License-Identifier: MIT
// What the tests of the tools probe: functions whose calls, arguments and results are known.
// A plain C program: nothing here knows of eBPF.
//
//   subject THREADS CALLS [WAIT-FOR-FILE [PAUSE-US]]
//
// Each thread T calls work(T, I, "thread T call I") and hidden(I) for I below CALLS, and
// climb(9) and nap(300) for every hundredth; prints where the functions are and what it did.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long threads, calls, pause_us;
static atomic_long wrong;

__attribute__((noinline, noclone)) long work(long thread, long number, const char *text)
{
	__asm__ volatile("" ::"r"(text) : "memory");
	return thread * 1000000 + number;
}

__attribute__((noinline, noclone)) static long hidden(long number)
{
	__asm__ volatile("" ::: "memory");
	return number ^ 0x55;
}

// Not a tail call, so that each level has its own return: 9 + 8 + ... + 0.
__attribute__((noinline, noclone)) long climb(long height)
{
	long below;

	if (height == 0)
		return 0;
	below = climb(height - 1);
	__asm__ volatile("" : "+r"(below)::"memory");
	return height + below;
}

__attribute__((noinline, noclone)) long nap(long microseconds)
{
	struct timespec time = { 0, microseconds * 1000 };

	return nanosleep(&time, NULL) ? -1 : microseconds;
}

static void *run(void *argument)
{
	long thread = (long)argument;
	char text[64];

	for (long i = 0; i < calls; i++) {
		snprintf(text, sizeof text, "thread %ld call %ld", thread, i);
		wrong += work(thread, i, text) != thread * 1000000 + i;
		wrong += hidden(i) != (i ^ 0x55);
		if (i % 100 == 0) {
			wrong += climb(9) != 45;
			wrong += nap(300) != 300;
		}
		if (pause_us)
			nap(pause_us);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t *all;

	threads = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
	calls = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
	pause_us = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
	setlinebuf(stdout);
	printf("subject %d uid %d work 0x%lx climb 0x%lx\n", getpid(), getuid(),
	       (unsigned long)work, (unsigned long)climb);
	if (argc > 3)
		while (access(argv[3], F_OK))
			usleep(2000);
	all = calloc((size_t)threads, sizeof *all);
	if (!all)
		return 1;
	for (long i = 0; i < threads; i++)
		if (pthread_create(&all[i], NULL, run, (void *)i))
			return 1;
	for (long i = 0; i < threads; i++)
		pthread_join(all[i], NULL);
	printf("done %ld %ld %ld wrong\n", threads, calls, wrong);
	return wrong != 0;
}
