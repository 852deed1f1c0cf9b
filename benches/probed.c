// SPDX-License-Identifier: MIT
// The measured process: functions whose first instructions differ, called in a loop on command.
//
// Reads lines "FUNCTION CALLS" from standard input and answers each with "NANOSECONDS CHECK":
// thread CPU time of one call and a sum that is wrong if any call was.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// A body of known bytes after a chosen first instruction: r = arg + 1.
#define PROBED(name, first, last)                                                                  \
	__attribute__((naked, noinline, used)) uint64_t name(uint64_t arg)                         \
	{                                                                                          \
		(void)arg;                                                                         \
		__asm__ volatile(first "lea 1(%rdi), %rax\n" last "ret\nnop\nnop\nnop\nnop\nnop"); \
	}

PROBED(first_push, "push %rbp\nmov %rsp, %rbp\n", "pop %rbp\n")
PROBED(first_nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n", "")
PROBED(first_sub_rsp, "sub $24, %rsp\n", "add $24, %rsp\n")
PROBED(first_movslq, "movslq %edi, %rcx\n", "")
PROBED(first_endbr64, "endbr64\n", "")

static const struct {
	const char *name;
	uint64_t (*call)(uint64_t);
} functions[] = {
	{ "first_push", first_push },       { "first_nop5", first_nop5 },
	{ "first_sub_rsp", first_sub_rsp }, { "first_movslq", first_movslq },
	{ "first_endbr64", first_endbr64 },
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

int main(void)
{
	char name[64];
	uint64_t calls;

	while (scanf("%63s %" SCNu64, name, &calls) == 2) {
		uint64_t (*volatile call)(uint64_t) = NULL;
		uint64_t start, sum = 0, wanted = 0;

		for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
			if (!strcmp(name, functions[i].name))
				call = functions[i].call;
		if (!call || !calls)
			return 2;
		start = now();
		for (uint64_t i = 0; i < calls; i++)
			sum += call(i);
		start = now() - start;
		wanted = calls * (calls - 1) / 2 + calls;
		printf("%.3f %s\n", (double)start / (double)calls, sum == wanted ? "ok" : "WRONG");
		fflush(stdout);
	}
	return 0;
}
