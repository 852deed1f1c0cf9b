/* Compares two halves byte by byte; they differ near the end. */
#define MEMORY 2048
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 half = len / 2;

	for (u64 at = 0; at < half; at++) {
		u8 left = mem[at], right = mem[half + at];

		if (left != right)
			return (at << 16) + left - right;
	}
	return 0;
}
