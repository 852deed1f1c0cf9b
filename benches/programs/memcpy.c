/* Copies one half to the other in words, and returns the last one. */
#define MEMORY 3072
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 half = len / 2;

	for (u64 at = 0; at < half; at += 8)
		*(u64 *)(mem + half + at) = word64(mem + at);
	return word64(mem + len - 8);
}
