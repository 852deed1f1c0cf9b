/* Four loops in each other, 4096 passes in all. */
#define MEMORY 16
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	u64 value = word64(mem);

	for (u32 i = 0; i < 8; i++)
		for (u32 j = 0; j < 8; j++)
			for (u32 k = 0; k < 8; k++)
				for (u32 l = 0; l < 8; l++)
					value += (value >> 5) ^ (i * j + k * l);
	return value;
}
