/* Sorts 64 numbers, after they are copied to the second half, by swapping neighbours. */
#define MEMORY 512
#define NUMBERS 64
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u32 *numbers = (u32 *)(mem + NUMBERS * 4);
	u64 sum = 0;

	for (u32 at = 0; at < NUMBERS; at++)
		numbers[at] = word32(mem + at * 4);
	for (u32 end = NUMBERS - 1; end > 0; end--) {
		for (u32 at = 0; at < end; at++) {
			u32 left = numbers[at], right = numbers[at + 1];

			if (left > right) {
				numbers[at] = right;
				numbers[at + 1] = left;
			}
		}
	}
	for (u32 at = 0; at < NUMBERS; at++)
		sum = sum * 31 + numbers[at];
	return sum;
}
