/* A hash that multiplies and rotates, over 32-bit words. */
#define MEMORY 2048
#include "program.h"

inline_always u32 rotate(u32 value, u32 by)
{
	return value << by | value >> (32 - by);
}

u64 run(u8 *mem, u64 len)
{
	u32 hash = (u32)len;

	for (u64 at = 0; at < len; at += 4) {
		u32 word = word32(mem + at) * 0x9e3779b1u;

		hash ^= rotate(word, 15) * 0x85ebca77u;
		hash = rotate(hash, 13) * 5 + 0x165667b1u;
	}
	hash ^= hash >> 16;
	hash *= 0xc2b2ae3du;
	hash ^= hash >> 13;
	return hash;
}
