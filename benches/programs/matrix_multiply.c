/* Two matrices of 16 by 16 numbers, multiplied into a third. */
#define MEMORY 3072
#define SIDE 16
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	const u32 *left = (const u32 *)mem, *right = left + SIDE * SIDE;
	u32 *product = (u32 *)mem + 2 * SIDE * SIDE;
	u64 sum = 0;

	for (u32 row = 0; row < SIDE; row++) {
		for (u32 column = 0; column < SIDE; column++) {
			u32 cell = 0;

			for (u32 at = 0; at < SIDE; at++)
				cell += left[row * SIDE + at] * right[at * SIDE + column];
			product[row * SIDE + column] = cell;
		}
	}
	for (u32 at = 0; at < SIDE * SIDE; at++)
		sum = sum * 31 + product[at];
	return sum;
}
