/* Carries a section, such as those by which a Go program is known, and a function with a name,
   such as a C++ compiler gives. On standard input: any line; answered by "done". */
#include <stdio.h>

#ifndef OUTER
#define OUTER outer
#endif

__asm__(".pushsection " SECTION ",\"a\",@progbits\n.quad 0\n.popsection\n");

__attribute__((noinline, noclone)) long probed(long n)
{
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

__attribute__((noinline, noclone)) long OUTER(long n)
{
	return probed(n) + probed(n);
}

int main(void)
{
	char line[64];
	long sum = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		sum += OUTER(1);
		puts("done");
	}
	puts(sum % 2 ? "wrong" : "right");
	return 0;
}
