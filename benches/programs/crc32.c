/* The CRC-32 of Ethernet by a table of 16 entries, which stands before the bytes. */
#define MEMORY 1088
#define TABLE 64
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	const u32 *table = (const u32 *)mem;
	u32 crc = ~0u;

	for (u64 at = TABLE; at < len; at++) {
		crc ^= mem[at];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc & 0xffffffffull;
}
