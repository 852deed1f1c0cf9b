// SPDX-License-Identifier: MIT
// Writes and reads array values that are much longer than a broker should copy at once, one at a
// time and in batches. Says "ok", or what went wrong.
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE (160UL << 20)

static union bpf_attr attr;

static long bpf(int command)
{
	return syscall(SYS_bpf, command, &attr, sizeof(attr));
}

static long elem(int command, int map, uint32_t key, void *value)
{
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)value;
	return bpf(command);
}

static long batch(int command, int map, uint32_t *keys, void *values)
{
	uint32_t out;

	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = (unsigned int)map;
	attr.batch.keys = (unsigned long)keys;
	attr.batch.values = (unsigned long)values;
	attr.batch.count = 1;
	attr.batch.out_batch = (unsigned long)&out;
	return bpf(command);
}

static void fill(uint64_t *memory, uint64_t seed)
{
	for (uint64_t i = 0; i < SIZE / 8; i++)
		memory[i] = i * 0x9e3779b97f4a7c15u + seed;
}

static int check(const char *what, int good)
{
	if (!good) {
		printf("%s: %s\n", what, strerror(errno));
		return 1;
	}
	return 0;
}

int main(void)
{
	int bad = 0, map;
	uint32_t key = 0;
	uint64_t *ours = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *theirs =
		mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ours == MAP_FAILED || theirs == MAP_FAILED)
		return 2;
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = SIZE;
	attr.max_entries = 2;
	map = (int)bpf(BPF_MAP_CREATE);
	if (check("create", map >= 0))
		return 1;

	memset(theirs, 1, 4096);
	bad |= check("lookup of zeros", elem(BPF_MAP_LOOKUP_ELEM, map, 1, theirs) == 0);
	bad |= check("zeros", theirs[0] == 0 && theirs[511] == 0);
	fill(ours, 1);
	bad |= check("update", elem(BPF_MAP_UPDATE_ELEM, map, 1, ours) == 0);
	bad |= check("lookup", elem(BPF_MAP_LOOKUP_ELEM, map, 1, theirs) == 0);
	bad |= check("looked up", memcmp(ours, theirs, SIZE) == 0);
	fill(ours, 2);
	bad |= check("update batch", batch(BPF_MAP_UPDATE_BATCH, map, &key, ours) == 0);
	key = 99;
	bad |= check("lookup batch", batch(BPF_MAP_LOOKUP_BATCH, map, &key, theirs) == 0);
	bad |= check("looked up in a batch", key == 0 && memcmp(ours, theirs, SIZE) == 0);

	// A value whose end cannot be read changes nothing.
	memset(theirs, 3, SIZE);
	mprotect((char *)theirs + SIZE - 4096, 4096, PROT_NONE);
	bad |= check("update of a fault",
		     elem(BPF_MAP_UPDATE_ELEM, map, 0, theirs) == -1 && errno == EFAULT);
	bad |= check("lookup into a fault",
		     elem(BPF_MAP_LOOKUP_ELEM, map, 0, theirs) == -1 && errno == EFAULT);
	mprotect((char *)theirs + SIZE - 4096, 4096, PROT_READ | PROT_WRITE);
	bad |= check("lookup after", elem(BPF_MAP_LOOKUP_ELEM, map, 0, theirs) == 0);
	bad |= check("unchanged", memcmp(ours, theirs, SIZE) == 0);
	if (!bad) {
		puts("ok");
		fflush(stdout);
		// Until then the map, and with it the broker, is there to be looked at.
		getchar();
	}
	return bad;
}
