/* Carries the sections by which a Go program is known. On standard input: any line; answered by
   "done". */
#include <stdio.h>

__asm__(".pushsection " SECTION ",\"a\",@progbits\n.quad 0\n.popsection\n");

__attribute__((noinline, noclone)) long probed(long n)
{
	__asm__ volatile("" ::: "memory");
	return n + 1;
}

int main(void)
{
	char line[64];
	long sum = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		sum += probed(1);
		puts("done");
	}
	puts(sum % 2 ? "wrong" : "right");
	return 0;
}
