// SPDX-License-Identifier: MIT
// A victim in C++: exceptions pass through the function that the tools probe.
//
//   thrower CALLS
//   walker CALLS
//
// walker (-DWALKER) may also walk stacks with what dl_iterate_phdr tells, and so is not told of probed
// returns; it asks for its parent as often as it calls.
//
// Calls climb(9) CALLS times each: so that it returns, so that its innermost call throws, and so
// that it returns again.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#ifdef WALKER
#include <link.h>
#include <unistd.h>

static int look(struct dl_phdr_info *, size_t, void *)
{
	return 0;
}
#endif

static bool fails;

// Not a tail call, so that each level has its own return: 9 + 8 + ... + 0.
extern "C" __attribute__((noinline, noclone)) long climb(long height)
{
	if (height == 0) {
		if (fails)
			throw std::runtime_error("too high");
		return 0;
	}
	long below = climb(height - 1);
	__asm__ volatile("" : "+r"(below)::"memory");
	return height + below;
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 10, caught = 0, wrong = 0;

#ifdef WALKER
	dl_iterate_phdr(look, nullptr);
#endif
	for (long i = 0; i < 3 * calls; i++) {
		fails = i / calls == 1;
#ifdef WALKER
		wrong += getppid() <= 0;
#endif
		try {
			wrong += climb(9) != 45;
		} catch (const std::runtime_error &) {
			caught++;
		}
	}
	printf("caught %ld wrong %ld\n", caught, wrong);
	return caught != calls || wrong;
}
