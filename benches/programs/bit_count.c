/* Bits that are set in 256 words, counted in parallel within each. */
#define MEMORY 2048
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = 0; at < len; at += 8) {
		u64 bits = word64(mem + at);

		bits -= (bits >> 1) & 0x5555555555555555ull;
		bits = (bits & 0x3333333333333333ull) + ((bits >> 2) & 0x3333333333333333ull);
		bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0full;
		sum += (bits * 0x0101010101010101ull) >> 56;
	}
	return sum;
}
