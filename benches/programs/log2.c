/* Integer logarithms of 128 numbers, by halving the width. */
#define MEMORY 1024
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = 0; at < len; at += 8) {
		u64 value = word64(mem + at), log = 0;

		if (value >> 32) {
			value >>= 32;
			log += 32;
		}
		if (value >> 16) {
			value >>= 16;
			log += 16;
		}
		if (value >> 8) {
			value >>= 8;
			log += 8;
		}
		if (value >> 4) {
			value >>= 4;
			log += 4;
		}
		if (value >> 2) {
			value >>= 2;
			log += 2;
		}
		if (value >> 1)
			log += 1;
		sum = sum * 3 + log;
	}
	return sum;
}
