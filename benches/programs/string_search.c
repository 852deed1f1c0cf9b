/* Places of 8 characters in a text, by trying each. */
#define MEMORY 1032
#define WORD 8
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = WORD; at + WORD <= len; at++) {
		u32 same = 0;

		while (same < WORD && mem[at + same] == mem[same])
			same++;
		if (same == WORD)
			sum = sum * 31 + at;
	}
	return sum;
}
