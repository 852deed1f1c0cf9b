// SPDX-License-Identifier: MIT
// Says its process id, waits for a byte, calls malloc as often as asked in each of several threads,
// says so, and waits for the end of its standard input.
//
//   calls_malloc THREADS CALLS
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static long calls;

static void *work(void *argument)
{
	(void)argument;
	for (long i = 0; i < calls; i++) {
		char *memory = malloc(5000 + i % 64);

		*(volatile char *)memory = 1;
		free(memory);
		if (i % 64 == 0)
			usleep(1000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	pthread_t thread[64];
	char byte;

	calls = argc > 2 ? atol(argv[2]) : 1;
	if (threads > 64)
		return 1;
	printf("%d\n", getpid());
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		return 2;
	for (int i = 0; i < threads; i++)
		pthread_create(&thread[i], NULL, work, NULL);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("done\n");
	fflush(stdout);
	return read(0, &byte, 1) == 0 ? 0 : 3;
}
