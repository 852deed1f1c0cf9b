/* Compares 16 pairs of strings of at most 63 characters. */
#define MEMORY 2048
#define ROOM 64
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 pair = 0; pair < len; pair += 2 * ROOM) {
		u32 left = 0, right = 0, at;

		for (at = 0; at < ROOM; at++) {
			left = mem[pair + at];
			right = mem[pair + ROOM + at];
			if (left != right || left == 0)
				break;
		}
		sum = sum * 5 + left - right + at;
	}
	return sum;
}
