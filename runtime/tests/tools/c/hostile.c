// SPDX-License-Identifier: MIT
// Makes random system calls of the kinds that the broker answers, from several threads, with bytes
// and pointers that are nonsense in part, and at last a good one.
//
//   hostile SEED CALLS
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long seed, calls;
static unsigned char *pages;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

// A number that means something more often than not.
static uint64_t word(uint64_t *state)
{
	switch (next(state) % 8) {
	case 0:
		return 0;
	case 1:
		return next(state) % 16;
	case 2:
		return (uint64_t)(uintptr_t)pages + next(state) % 4096;
	case 3:
		// Runs from good memory into bad.
		return (uint64_t)(uintptr_t)pages + 3 * 4096 - next(state) % 64;
	case 4:
		return next(state) % 4096;
	case 5:
		return next(state) & 0xffffffff;
	case 6:
		return 1ull << (next(state) % 64);
	default:
		return next(state);
	}
}

static void *work(void *argument)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + (uint64_t)(uintptr_t)argument + 1;

	for (unsigned long i = 0; i < calls; i++) {
		uint64_t attr[24], words = next(&state) % 24;

		memset(attr, 0, sizeof(attr));
		for (uint64_t at = 0; at < words; at++)
			attr[at] = next(&state) % 3 ? word(&state) % 64 | word(&state) % 64 << 32
						    : word(&state);
		switch (next(&state) % 8) {
		case 0:
			syscall(SYS_perf_event_open, attr, (int)word(&state), (int)word(&state), -1,
				word(&state));
			break;
		case 1:
			syscall(SYS_epoll_ctl, (int)(word(&state) % 32), (int)(word(&state) % 5),
				(int)(word(&state) % 32), word(&state));
			break;
		case 2:
			syscall(SYS_ioctl, (int)(3 + word(&state) % 32), 0x2400 + word(&state) % 16,
				word(&state));
			break;
		case 3:
			close((int)(3 + next(&state) % 64));
			break;
		case 4:
			syscall(SYS_stat, word(&state), word(&state));
			break;
		default:
			// The broker may not be made to run out of memory by maps of gigabytes that
			// nobody wants to see made; sizes stay small in every second call.
			if (next(&state) % 2) {
				attr[0] = (next(&state) % 32) | (4ull << 32);
				attr[1] = (next(&state) % 64) | ((next(&state) % 64) << 32);
			}
			syscall(SYS_bpf, next(&state) % 40, attr, word(&state) % 256);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	union bpf_attr attr;

	seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	calls = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
	pages = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(pages + 3 * 4096, 4096);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = 1;
	if (syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)) < 0) {
		perror("the broker does not answer any more");
		return 1;
	}
	return 0;
}
