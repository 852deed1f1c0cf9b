/* Threads that are cancelled, or end themselves, below functions with something to clean up. On
   standard input: "cancel N"; answered by "done". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipes[2];
static long cleaned, order_right, failures;

static void clean(void *number)
{
	/* The inner one comes first. */
	order_right += cleaned % 2 == (long)number;
	cleaned++;
}

__attribute__((noinline, noclone)) long waits(long n)
{
	char byte;

	if (n)
		pthread_exit((void *)n);
	return n + read(pipes[0], &byte, 1);
}

__attribute__((noinline, noclone)) long inner(long n)
{
	long result;

	pthread_cleanup_push(clean, (void *)0L);
	result = waits(n) + 1;
	pthread_cleanup_pop(0);
	return result;
}

__attribute__((noinline, noclone)) long outer(long n)
{
	long result;

	pthread_cleanup_push(clean, (void *)1L);
	result = inner(n) + 1;
	pthread_cleanup_pop(0);
	return result;
}

static void *run(void *n)
{
	return (void *)outer((long)n);
}

int main(void)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pipe(pipes))
		return 1;
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		long n = strncmp(line, "cancel ", 7) ? 0 : atol(line + 7);

		for (long i = 0; i < n; i++) {
			void *result, *right = i % 2 ? (void *)42 : PTHREAD_CANCELED;
			pthread_t thread;

			if (pthread_create(&thread, NULL, run, i % 2 ? (void *)42 : NULL))
				return 1;
			if (i % 4 == 0)
				usleep(1000);
			if (i % 2 == 0)
				pthread_cancel(thread);
			pthread_join(thread, &result);
			failures += result != right;
			failures += cleaned != 2 * (i + 1) || order_right != cleaned;
		}
		puts("done");
	}
	puts(failures ? "wrong" : "right");
	return 0;
}
