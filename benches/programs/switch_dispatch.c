/* A little machine: each byte is an instruction on an accumulator. */
#define MEMORY 1024
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 value = 1, other = 0;

	for (u64 at = 0; at < len; at++) {
		switch (mem[at] & 15) {
		case 0: value += 13; break;
		case 1: value ^= other; break;
		case 2: value *= 17; break;
		case 3: other += value; break;
		case 4: value -= other; break;
		case 5: value = value << 7 | value >> 57; break;
		case 6: other ^= value >> 3; break;
		case 7: value = ~value; break;
		case 8: other = other * 3 + 1; break;
		case 9: value += at; break;
		case 10: value |= 0x100; break;
		case 11: other &= 0xffffffffffull; break;
		case 12: value -= at << 4; break;
		case 13: other = value; break;
		case 14: value /= (other & 7) + 1; break;
		default: value += other % 1000; break;
		}
	}
	return value ^ other;
}
