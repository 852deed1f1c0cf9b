// SPDX-License-Identifier: MIT
// Calls work() before and after it makes another process of itself.
//
//   family CALLS              CALLS calls
//   family CALLS fork         CALLS calls here, in a child meanwhile, and here again
//   family CALLS exec         CALLS calls, then those of `family CALLS` in this process
//   family CALLS spawn        CALLS calls before and after another program ran
//
// Waits for the file `go` between the first CALLS and what follows, if the environment says WAIT.
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

__attribute__((noinline, noclone)) long work(long thread, long number)
{
	__asm__ volatile("" ::: "memory");
	return thread * 1000000 + number;
}

static long call(long thread, long calls)
{
	long wrong = 0;

	for (long i = 0; i < calls; i++)
		wrong += work(thread, i) != thread * 1000000 + i;
	return wrong;
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? strtol(argv[1], NULL, 10) : 1, wrong;
	const char *how = argc > 2 ? argv[2] : "";
	char *none[] = { "true", NULL };
	int status = 0;
	pid_t child;

	setlinebuf(stdout);
	wrong = call(0, calls);
	printf("family %d\n", getpid());
	if (getenv("WAIT"))
		while (access("go", F_OK))
			usleep(2000);
	if (!strcmp(how, "fork")) {
		child = fork();
		if (child == 0)
			_exit(call(1, calls) != 0);
		waitpid(child, &status, 0);
		wrong += call(2, calls);
	} else if (!strcmp(how, "exec")) {
		if (wrong == 0)
			execl(argv[0], argv[0], argv[1], NULL);
		wrong++;
	} else if (!strcmp(how, "spawn")) {
		if (posix_spawn(&child, "/bin/true", NULL, NULL, none, environ))
			return 1;
		waitpid(child, &status, 0);
		wrong += call(2, calls);
	}
	printf("done %ld wrong %d child\n", wrong, status);
	return wrong || status;
}
