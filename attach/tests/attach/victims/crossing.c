/* A function that goes on in the middle of another, as glibc's mempcpy does in memcpy: the jump
   leads to the second instruction of `entered`. Says "right" if all results are. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

uint64_t entered(uint64_t n);
uint64_t crossing(uint64_t n);
uint64_t near_crossing(uint64_t n);

/* entered(n) = n + 1; the others enter it with 10 in rax, n in rdi. */
__asm__(".text\n"
	".p2align 4\n"
	".globl near_crossing\n.type near_crossing, @function\n"
	"near_crossing: mov $10, %eax\n"
	"jmp 1f\n"
	".size near_crossing, . - near_crossing\n"
	".p2align 4\n"
	".globl entered\n.type entered, @function\n"
	"entered: mov %rdi, %rax\n"
	"1: add $1, %rax\n"
	"imul $1, %rax, %rax\n"
	"ret\n"
	".size entered, . - entered\n"
	".p2align 4\n"
	".skip 4096, 0x90\n"
	".globl crossing\n.type crossing, @function\n"
	"crossing: mov $10, %eax\n"
	"jmp 1b\n"
	".size crossing, . - crossing\n"
	".p2align 4\n");

int main(void)
{
	char line[64];
	int failures = 0;

	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		for (uint64_t i = 0; i < 100; i++)
			failures += entered(i) != i + 1;
		if (strncmp(line, "cross", 5) == 0)
			failures += crossing(5) != 11 || near_crossing(5) != 11;
		printf("done\n");
		fflush(stdout);
	}
	if (failures == 0)
		printf("right\n");
	return failures != 0;
}
