/* The Toeplitz hash by which network cards spread flows, of 16 tuples of 12 bytes with one key of 40. */
#define MEMORY 232
#define KEY 40
#define TUPLE 12
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 tuple = KEY; tuple < len; tuple += TUPLE) {
		u32 hash = 0;
		u32 window = (u32)mem[0] << 24 | (u32)mem[1] << 16 | (u32)mem[2] << 8 | mem[3];

		for (u32 at = 0; at < TUPLE; at++) {
			u32 byte = mem[tuple + at], next = mem[at + 4];

			for (u32 bit = 0; bit < 8; bit++) {
				if (byte & 0x80)
					hash ^= window;
				byte <<= 1;
				window = window << 1 | (next >> 7 & 1);
				next <<= 1;
			}
		}
		sum = sum * 31 + hash;
	}
	return sum;
}
