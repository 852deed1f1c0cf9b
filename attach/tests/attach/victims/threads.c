/* Starts threads all the time, each of which ends soon, until its standard input ends. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int ends;

static void *ended(void *nothing)
{
	for (int i = 0; i < 200; i++)
		free(malloc(16 + i));
	return nothing;
}

static void *maker(void *nothing)
{
	while (!ends) {
		pthread_t threads[3];
		for (int i = 0; i < 3; i++)
			if (pthread_create(&threads[i], NULL, ended, NULL) != 0)
				exit(1);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
	}
	return nothing;
}

int main(void)
{
	pthread_t makers[2];
	char byte;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&makers[i], NULL, maker, NULL) != 0)
			return 1;
	if (write(1, "ready\n", 6) != 6)
		return 1;
	ends = read(0, &byte, 1) >= 0;
	for (int i = 0; i < 2; i++)
		pthread_join(makers[i], NULL);
	return 0;
}
