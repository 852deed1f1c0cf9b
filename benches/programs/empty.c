/* Nothing: what a call costs. */
#define MEMORY 16
#include "program.h"

u64 run(u8 *mem, u64 len)
{
	return len;
}
