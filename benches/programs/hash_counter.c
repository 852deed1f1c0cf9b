/* Counts 128 keys in a hash map, then takes them out again. */
#define MEMORY 512
#include "program.h"
#include "map.h"

HASH_MAP(counts, 128);

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = 0; at < len; at += 4) {
		u32 key = word32(mem + at);
		u64 *count = hash_lookup(counts, &key), one = 1;

		if (count)
			*count += 1;
		else
			hash_insert(counts, &key, &one);
	}
	for (u64 at = 0; at < len; at += 4) {
		u32 key = word32(mem + at);
		u64 *count = hash_lookup(counts, &key);

		if (count) {
			sum = sum * 31 + *count;
			hash_delete(counts, &key);
		}
	}
	return sum;
}
