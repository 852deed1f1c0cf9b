/* Sorts 64 numbers, after they are copied behind themselves, by partition; then comes a stack of ranges, its
 * depth first. What is read back from memory is not known to be in range, so indices are masked where
 * they change. */
#define MEMORY 768
#define NUMBERS 64
#define LAST (NUMBERS - 1)
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	const u32 *given = (const u32 *)mem;
	u32 *numbers = (u32 *)(mem + NUMBERS * 4);
	u32 *ranges = (u32 *)(mem + NUMBERS * 8);
	/* Read back each time: a verifier would follow each depth that it knew. */
	volatile u32 *depth = ranges;
	u64 sum = 0;

	for (u32 at = 0; at < NUMBERS; at++)
		numbers[at] = given[at];
	*depth = 1;
	ranges[1] = 0 << 16 | LAST;
	/* Each pass places a number. */
	for (u32 pass = 0; pass < NUMBERS; pass++) {
		u32 top = *depth & LAST, range, low, high, count, pivot, place;

		if (top == 0)
			break;
		range = ranges[top--];
		low = range >> 16 & LAST;
		high = range & LAST;
		count = (high - low) & LAST;
		pivot = numbers[high];
		place = low;
		for (u32 step = 0; step < LAST && step < count; step++) {
			u32 at = (low + step) & LAST, number = numbers[at];

			if (number < pivot) {
				numbers[at] = numbers[place];
				numbers[place] = number;
				place = (place + 1) & LAST;
			}
		}
		numbers[high] = numbers[place];
		numbers[place] = pivot;
		if (place > low + 1) {
			top = (top + 1) & LAST;
			ranges[top] = low << 16 | (place - 1);
		}
		if (place + 1 < high) {
			top = (top + 1) & LAST;
			ranges[top] = (place + 1) << 16 | high;
		}
		*depth = top;
	}
	for (u32 at = 0; at < NUMBERS; at++)
		sum = sum * 31 + numbers[at];
	return sum;
}
