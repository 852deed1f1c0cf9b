// A program whose exceptions pass through functions. On standard input: "throw N"; answered by
// "done".
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define NOINLINE extern "C" __attribute__((noinline, noclone))

static int failures;

// Has no clean-up, so its unwind information looks like that of a function in C.
NOINLINE long thrower(long n)
{
	if (n % 2)
		throw n;
	return n + 1;
}

NOINLINE long between(long n)
{
	return thrower(n) + 1;
}

// Calls nothing.
NOINLINE long leaf(long n)
{
	asm volatile("" ::: "memory");
	return n * 3;
}

int main()
{
	char line[64];
	setvbuf(stdout, nullptr, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		long n = !strncmp(line, "throw ", 6) ? atol(line + 6) : 0;
		for (long i = 0; i < n; i++) {
			long caught = 0, value = 0;
			try {
				value = between(i);
			} catch (long thrown) {
				caught = thrown;
			}
			failures += i % 2 ? caught != i : value != i + 2;
			failures += leaf(i) != i * 3;
		}
		puts("done");
	}
	puts(failures ? "wrong" : "right");
	return 0;
}
