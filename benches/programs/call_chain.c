/* Functions that call each other, seven deep, for each of 32 words. */
#define MEMORY 256
#include "program.h"

#define LINK(name, next, step)                                  \
	function u64 name(u64 value, u64 salt)                  \
	{                                                       \
		return next(value * 5 + step, salt ^ value) + salt; \
	}

function u64 end_of_chain(u64 value, u64 salt)
{
	return value ^ salt >> 7;
}

LINK(sixth, end_of_chain, 6)
LINK(fifth, sixth, 5)
LINK(fourth, fifth, 4)
LINK(third, fourth, 3)
LINK(second, third, 2)
LINK(first, second, 1)

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = 0; at < len; at += 8)
		sum = first(word64(mem + at), sum);
	return sum;
}
