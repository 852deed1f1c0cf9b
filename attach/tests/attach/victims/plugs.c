/* Loads a library whose exceptions pass through a function of this program; its path is the first
   argument. On standard input: "throw N"; answered by "done". */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline, noclone)) long through(long (*call)(long), long n)
{
	return call(n) + 1;
}

int main(int argc, char **argv)
{
	char line[64];
	long failures = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (argc > 1 && fgets(line, sizeof(line), stdin)) {
		void *library = dlopen(argv[1], RTLD_NOW);
		long (*failing)(long (*)(long (*)(long), long), long) =
			library ? dlsym(library, "failing") : NULL;
		long n = strncmp(line, "throw ", 6) ? 0 : atol(line + 6);
		failures += failing ? failing(through, n) : 1;
		puts("done");
	}
	puts(failures ? "wrong" : "right");
	return 0;
}
