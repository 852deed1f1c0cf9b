/* 64 keys, looked for in 256 numbers that ascend, by halves. */
#define MEMORY 1280
#define NUMBERS 256
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	const u32 *numbers = (const u32 *)mem;
	u64 sum = 0;

	for (u64 at = NUMBERS * 4; at < len; at += 4) {
		u32 key = word32(mem + at), less = 0;

		for (u32 half = NUMBERS / 2; half > 0; half /= 2)
			if (numbers[less + half - 1] < key)
				less += half;
		sum = sum * 7 + less;
	}
	return sum;
}
