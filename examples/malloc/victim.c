// SPDX-License-Identifier: MIT
// Allocates memory in several threads, checks that what it wrote is still there, and prints
// how often it called malloc. A plain C program: nothing here knows of eBPF.
//
//   victim [SECONDS] [THREADS] [CALLS PER SECOND AND THREAD]
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds = 5;
static unsigned int threads = 2;
static unsigned long rate = 1000;

struct worker {
	pthread_t thread;
	unsigned long calls, bytes, wrong;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct timespec pause = { 0, 1000000000L / (rate ? rate : 1) };
	unsigned long total = (unsigned long)(seconds * (double)rate);

	for (unsigned long i = 0; i < total; i++) {
		size_t size = 16 + i % 240;
		unsigned char *memory = malloc(size);

		if (!memory)
			exit(1);
		memset(memory, (int)(i & 0xff), size);
		worker->calls++;
		worker->bytes += size;
		nanosleep(&pause, NULL);
		for (size_t byte = 0; byte < size; byte++)
			worker->wrong += memory[byte] != (unsigned char)(i & 0xff);
		free(memory);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long calls = 0, bytes = 0, wrong = 0;
	struct worker *workers;

	if (argc > 1)
		seconds = strtod(argv[1], NULL);
	if (argc > 2)
		threads = (unsigned int)strtoul(argv[2], NULL, 10);
	if (argc > 3)
		rate = strtoul(argv[3], NULL, 10);
	workers = calloc(threads, sizeof *workers);
	if (!workers)
		return 1;
	for (unsigned int i = 0; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			return 1;
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		calls += workers[i].calls;
		bytes += workers[i].bytes;
		wrong += workers[i].wrong;
	}
	printf("victim %d: %lu calls, %lu bytes, %lu wrong\n", getpid(), calls, bytes, wrong);
	return wrong != 0;
}
