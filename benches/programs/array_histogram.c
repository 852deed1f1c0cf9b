/* How often each of 64 values stands in 1024 bytes, in an array map. */
#define MEMORY 1024
#define BUCKETS 64
#include "program.h"
#include "map.h"

ARRAY_MAP(buckets, BUCKETS);

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u32 at = 0; at < BUCKETS; at++) {
		u32 bucket = at;
		u64 *count = array_lookup(buckets, &bucket);

		if (count)
			*count = 0;
	}
	for (u64 at = 0; at < len; at++) {
		u32 bucket = mem[at] & (BUCKETS - 1);
		u64 *count = array_lookup(buckets, &bucket);

		if (count)
			*count += 1;
	}
	for (u32 at = 0; at < BUCKETS; at++) {
		u32 bucket = at;
		u64 *count = array_lookup(buckets, &bucket);

		if (count)
			sum = sum * 31 + *count;
	}
	return sum;
}
