/* Primes up to a number in memory, by division. */
#define MEMORY 16
#define MOST 256
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u32 last = word32(mem), count = 0;

	for (u32 number = 2; number < MOST && number <= last; number++) {
		u32 prime = 1;

		for (u32 factor = 2; factor * factor <= number; factor++) {
			if (number % factor == 0) {
				prime = 0;
				break;
			}
		}
		count += prime;
	}
	return count;
}
