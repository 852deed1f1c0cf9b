/* Calls `early` once in a constructor and a hundred times in main, and getenv seven times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;

__attribute__((noinline, noclone)) int early(int n)
{
	__asm__ volatile("" ::: "memory");
	return (n ^ 0x12345678) == 0 ? -1 : n + 1;
}

__attribute__((constructor)) static void construct(void)
{
	if (early(41) != 42)
		failures++;
}

int main(void)
{
	for (int i = 0; i < 100; i++)
		if (early(i) != i + 1)
			failures++;
	for (int i = 0; i < 7; i++)
		if (getenv("NO SUCH VARIABLE") != NULL)
			failures++;
	if (failures == 0 && write(1, "right\n", 6) != 6)
		return 2;
	return failures != 0;
}
