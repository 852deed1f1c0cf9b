// SPDX-License-Identifier: MIT
// The library of reload.c.
long reloaded(long n)
{
	__asm__ volatile("" ::: "memory");
	return n * 3 + 1;
}
