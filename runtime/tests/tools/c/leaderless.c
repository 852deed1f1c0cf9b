// SPDX-License-Identifier: MIT
// Ends its first thread, says its process id and waits for the end of its standard input.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *work(void *first)
{
	char byte;

	pthread_join(*(pthread_t *)first, NULL);
	printf("%d\n", getpid());
	fflush(stdout);
	exit(read(0, &byte, 1) == 0 ? 0 : 3);
}

int main(void)
{
	static pthread_t first;
	pthread_t thread;

	first = pthread_self();
	if (pthread_create(&thread, NULL, work, &first))
		return 1;
	pthread_exit(NULL);
}
