// SPDX-License-Identifier: MIT
// Says its process id. For each line that it reads, in turn: loads a library and says "loaded";
// calls its function 10 times and says "called"; unloads it and says "unloaded".
//
//   reload LIBRARY
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char line[64];
	void *library = NULL;

	if (argc != 2)
		return 1;
	printf("%d\n", getpid());
	fflush(stdout);
	for (int step = 0; fgets(line, sizeof(line), stdin); step++) {
		const char *done = "loaded";

		if (step % 3 == 0) {
			library = dlopen(argv[1], RTLD_NOW);
			if (!library)
				return 2;
		} else if (step % 3 == 1) {
			long (*reloaded)(long) = (long (*)(long))dlsym(library, "reloaded");

			for (long i = 5000; i < 5010; i++)
				if (reloaded(i) != i * 3 + 1)
					return 3;
			done = "called";
		} else {
			dlclose(library);
			done = "unloaded";
		}
		printf("%s\n", done);
		fflush(stdout);
	}
	return 0;
}
