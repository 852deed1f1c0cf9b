// SPDX-License-Identifier: MIT
// Makes bpf() calls, good and bad, and prints what came of each: "label result errno". The kernel
// and the broker must agree on every line.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static union bpf_attr attr;

static long bpf(int command, size_t size)
{
	return syscall(SYS_bpf, command, &attr, size);
}

// Descriptors differ; whether there is one does not.
static void say(const char *label, long result)
{
	int error = errno;

	printf("%s %ld %d\n", label, result < 0 ? -1L : 0L, result < 0 ? error : 0);
	fflush(stdout);
}

static void say_value(const char *label, unsigned long long value)
{
	printf("%s = %llu\n", label, value);
	fflush(stdout);
}

static int create(const char *label, unsigned int type, unsigned int key, unsigned int value,
		  unsigned int entries, unsigned int flags)
{
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	strcpy(attr.map_name, "name.of_map");
	fd = bpf(BPF_MAP_CREATE, sizeof(attr));
	say(label, fd);
	return (int)fd;
}

static long elem(int command, int map, const void *key, void *value, unsigned long long flags)
{
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	attr.key = (unsigned long)key;
	attr.value = (unsigned long)value;
	attr.flags = flags;
	return bpf(command, sizeof(attr));
}

static void creation(void)
{
	create("create hash", BPF_MAP_TYPE_HASH, 4, 8, 16, 0);
	create("create hash without key", BPF_MAP_TYPE_HASH, 0, 8, 16, 0);
	create("create hash without value", BPF_MAP_TYPE_HASH, 4, 0, 16, 0);
	create("create hash without entries", BPF_MAP_TYPE_HASH, 4, 8, 0, 0);
	create("create hash mmapable", BPF_MAP_TYPE_HASH, 4, 8, 16, BPF_F_MMAPABLE);
	create("create hash unknown flag", BPF_MAP_TYPE_HASH, 4, 8, 16, 1u << 31);
	create("create hash both ways only", BPF_MAP_TYPE_HASH, 4, 8, 16,
	       BPF_F_RDONLY | BPF_F_WRONLY);
	create("create array key 8", BPF_MAP_TYPE_ARRAY, 8, 8, 16, 0);
	create("create array huge value", BPF_MAP_TYPE_ARRAY, 4, 0x80000000u, 1, 0);
	create("create array no prealloc", BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_NO_PREALLOC);
	create("create percpu array mmapable", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1, BPF_F_MMAPABLE);
	create("create percpu array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1, 0);
	create("create percpu hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 1, 0);
	create("create ringbuf", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
	create("create ringbuf odd size", BPF_MAP_TYPE_RINGBUF, 0, 0, 5000, 0);
	create("create ringbuf with key", BPF_MAP_TYPE_RINGBUF, 4, 0, 4096, 0);
	create("create perf array", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 2, 0);
	create("create perf array value 8", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 8, 2, 0);
	create("create unspecified", BPF_MAP_TYPE_UNSPEC, 4, 8, 2, 0);
	create("create unknown type", 1000, 4, 8, 2, 0);

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = 1;
	strcpy(attr.map_name, "a name");
	say("create bad name", bpf(BPF_MAP_CREATE, sizeof(attr)));
	memset(attr.map_name, 'x', sizeof(attr.map_name));
	say("create long name", bpf(BPF_MAP_CREATE, sizeof(attr)));
	memset(attr.map_name, 0, sizeof(attr.map_name));
	say("create old attr", bpf(BPF_MAP_CREATE, 20));
	attr.btf_value_type_id = 1;
	attr.btf_fd = 1000;
	say("create bad btf", bpf(BPF_MAP_CREATE, sizeof(attr)));
	attr.btf_value_type_id = 0;
	attr.btf_fd = 0;
	attr.inner_map_fd = 1000;
	say("create array with inner map", bpf(BPF_MAP_CREATE, sizeof(attr)));
}

static void sizes(void)
{
	static char large[8192];

	errno = 0;
	memset(large, 0, sizeof(large));
	((union bpf_attr *)large)->map_type = BPF_MAP_TYPE_ARRAY;
	((union bpf_attr *)large)->key_size = 4;
	((union bpf_attr *)large)->value_size = 4;
	((union bpf_attr *)large)->max_entries = 1;
	say("attr of a page", syscall(SYS_bpf, BPF_MAP_CREATE, large, 4096));
	say("attr beyond a page", syscall(SYS_bpf, BPF_MAP_CREATE, large, 4097));
	large[4000] = 1;
	say("attr with unknown field", syscall(SYS_bpf, BPF_MAP_CREATE, large, 4096));
	say("attr at null", syscall(SYS_bpf, BPF_MAP_CREATE, NULL, 40));
	say("unknown command", syscall(SYS_bpf, 9999, large, 40));
	say("attr of nothing", syscall(SYS_bpf, BPF_MAP_CREATE, large, 0));
}

static void elements(const char *kind, unsigned int type)
{
	char label[64];
	uint64_t value = 7, big[512];
	uint32_t key = 1;
	int map, count;

	snprintf(label, sizeof(label), "%s create", kind);
	map = create(label, type, 4, 8, 4, 0);
#define SAY(text, result) \
	do { \
		long outcome = (result); \
		snprintf(label, sizeof(label), "%s %s", kind, text); \
		say(label, outcome); \
	} while (0)
	memset(big, 0, sizeof(big));
	big[0] = value;
	SAY("lookup before", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, 0));
	SAY("update exist", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, BPF_EXIST));
	SAY("update noexist", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, BPF_NOEXIST));
	SAY("update noexist again", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, BPF_NOEXIST));
	SAY("update any", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, BPF_ANY));
	SAY("update flags 3", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, 3));
	SAY("update lock", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, BPF_F_LOCK));
	SAY("update flags 8", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, 8));
	SAY("lookup", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, 0));
	SAY("lookup flags", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, 1));
	SAY("lookup lock", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, BPF_F_LOCK));
	SAY("lookup null key", elem(BPF_MAP_LOOKUP_ELEM, map, NULL, big, 0));
	SAY("lookup null value", elem(BPF_MAP_LOOKUP_ELEM, map, &key, NULL, 0));
	SAY("update null value", elem(BPF_MAP_UPDATE_ELEM, map, &key, NULL, 0));
	for (key = 0; key < 6; key++)
		SAY("fill", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, 0));
	count = 0;
	if (elem(BPF_MAP_GET_NEXT_KEY, map, NULL, &key, 0) == 0) {
		do
			count++;
		while (elem(BPF_MAP_GET_NEXT_KEY, map, &key, &key, 0) == 0 && count < 100);
	}
	SAY("last key", elem(BPF_MAP_GET_NEXT_KEY, map, &key, &key, 0));
	say_value("keys", (unsigned long long)count);
	key = 77;
	SAY("next of absent", elem(BPF_MAP_GET_NEXT_KEY, map, &key, &key, 0));
	key = 2;
	SAY("delete", elem(BPF_MAP_DELETE_ELEM, map, &key, NULL, 0));
	SAY("delete again", elem(BPF_MAP_DELETE_ELEM, map, &key, NULL, 0));
	SAY("delete with value", elem(BPF_MAP_DELETE_ELEM, map, &key, big, 0));
	key = 3;
	SAY("lookup and delete", elem(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, &key, big, 0));
	SAY("lookup and delete again", elem(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, &key, big, 0));
	SAY("lookup and delete flags", elem(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, &key, big, 1));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	SAY("freeze", bpf(BPF_MAP_FREEZE, sizeof(attr)));
	SAY("freeze again", bpf(BPF_MAP_FREEZE, sizeof(attr)));
	key = 0;
	SAY("update frozen", elem(BPF_MAP_UPDATE_ELEM, map, &key, big, 0));
	SAY("delete frozen", elem(BPF_MAP_DELETE_ELEM, map, &key, NULL, 0));
	SAY("lookup frozen", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, 0));
	SAY("mmap", mmap(NULL, 4096, PROT_READ, MAP_SHARED, map, 0) == MAP_FAILED ? -1 : 0);
	close(map);
	SAY("lookup closed", elem(BPF_MAP_LOOKUP_ELEM, map, &key, big, 0));
#undef SAY
}

static void batches(void)
{
	uint32_t keys[16], in = 0, out = 0, key, total = 0;
	uint64_t values[16], value;
	int map = create("batch create", BPF_MAP_TYPE_HASH, 4, 8, 16, 0);
	long result;

	for (key = 0; key < 10; key++) {
		keys[key] = key;
		values[key] = key * 10;
	}
#define BATCH(command, number) \
	(memset(&attr, 0, sizeof(attr)), attr.batch.map_fd = (unsigned int)map, \
	 attr.batch.keys = (unsigned long)keys, attr.batch.values = (unsigned long)values, \
	 attr.batch.count = (number), attr.batch.out_batch = (unsigned long)&out, \
	 bpf(command, sizeof(attr)))
	say("batch update", BATCH(BPF_MAP_UPDATE_BATCH, 10));
	say_value("count", attr.batch.count);
	say("batch update none", BATCH(BPF_MAP_UPDATE_BATCH, 0));
	say("batch lookup all", BATCH(BPF_MAP_LOOKUP_BATCH, 16));
	say_value("count", attr.batch.count);
	for (key = 0; key < attr.batch.count; key++)
		total += (unsigned int)values[key];
	say_value("total", total);
	keys[0] = 3;
	keys[1] = 4;
	keys[2] = 99;
	say("batch delete", BATCH(BPF_MAP_DELETE_BATCH, 3));
	say_value("count", attr.batch.count);
	say("batch lookup and delete", BATCH(BPF_MAP_LOOKUP_AND_DELETE_BATCH, 16));
	say_value("count", attr.batch.count);
	say("batch lookup empty", BATCH(BPF_MAP_LOOKUP_BATCH, 16));
	say_value("count", attr.batch.count);
	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = (unsigned int)map;
	attr.batch.flags = 1;
	attr.batch.count = 1;
	say("batch flags", bpf(BPF_MAP_LOOKUP_BATCH, sizeof(attr)));
	attr.batch.flags = 0;
	attr.batch.elem_flags = 1;
	say("batch elem flags", bpf(BPF_MAP_LOOKUP_BATCH, sizeof(attr)));
	close(map);

	map = create("batch large create", BPF_MAP_TYPE_HASH, 4, 8, 1000, 0);
	for (key = 0; key < 1000; key++) {
		value = key;
		elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0);
	}
	for (int deleting = 0; deleting < 2; deleting++) {
		int command = deleting ? BPF_MAP_LOOKUP_AND_DELETE_BATCH : BPF_MAP_LOOKUP_BATCH;
		uint32_t many_keys[64];
		uint64_t many_values[64], sum = 0, number = 0;
		bool first = true;

		do {
			memset(&attr, 0, sizeof(attr));
			attr.batch.map_fd = (unsigned int)map;
			attr.batch.keys = (unsigned long)many_keys;
			attr.batch.values = (unsigned long)many_values;
			attr.batch.count = 64;
			attr.batch.in_batch = first ? 0 : (unsigned long)&in;
			attr.batch.out_batch = (unsigned long)&out;
			result = bpf(command, sizeof(attr));
			if (result < 0 && errno != ENOENT)
				break;
			for (key = 0; key < attr.batch.count; key++)
				sum += many_values[key];
			number += attr.batch.count;
			in = out;
			first = false;
		} while (result == 0);
		say(deleting ? "batch large delete" : "batch large", result);
		say_value("elements", number);
		say_value("sum", sum);
	}
	say("batch large empty", elem(BPF_MAP_GET_NEXT_KEY, map, NULL, &key, 0));
	close(map);

	map = create("batch array create", BPF_MAP_TYPE_ARRAY, 4, 8, 5, 0);
	for (key = 0; key < 5; key++) {
		value = key;
		elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0);
	}
	memset(&attr, 0, sizeof(attr));
	result = BATCH(BPF_MAP_LOOKUP_BATCH, 3);
	say("batch array first", result);
	say_value("count", attr.batch.count);
	in = out;
	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = (unsigned int)map;
	attr.batch.keys = (unsigned long)keys;
	attr.batch.values = (unsigned long)values;
	attr.batch.count = 3;
	attr.batch.in_batch = (unsigned long)&in;
	attr.batch.out_batch = (unsigned long)&out;
	say("batch array rest", bpf(BPF_MAP_LOOKUP_BATCH, sizeof(attr)));
	say_value("count", attr.batch.count);
	say_value("first key", keys[0]);
	say("batch array delete", BATCH(BPF_MAP_LOOKUP_AND_DELETE_BATCH, 3));
	close(map);
	map = create("batch ringbuf create", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
	say("batch ringbuf", BATCH(BPF_MAP_LOOKUP_BATCH, 3));
	say("ringbuf lookup", elem(BPF_MAP_LOOKUP_ELEM, map, NULL, values, 0));
	say("ringbuf update", elem(BPF_MAP_UPDATE_ELEM, map, NULL, values, 0));
	say("ringbuf delete", elem(BPF_MAP_DELETE_ELEM, map, NULL, NULL, 0));
	say("ringbuf next", elem(BPF_MAP_GET_NEXT_KEY, map, NULL, &key, 0));
	close(map);
#undef BATCH
}

static void mapping(void)
{
	uint64_t value = 5;
	uint32_t key = 0;
	int map = create("mmapable create", BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE);
	uint64_t *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	say("mmapable mmap", memory == MAP_FAILED ? -1 : 0);
	if (memory == MAP_FAILED)
		return;
	elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0);
	say_value("seen in memory", memory[0]);
	memory[1] = 77;
	key = 1;
	elem(BPF_MAP_LOOKUP_ELEM, map, &key, &value, 0);
	say_value("seen by lookup", value);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	say("freeze while mapped writable", bpf(BPF_MAP_FREEZE, sizeof(attr)));
	munmap(memory, 4096);
	say("freeze", bpf(BPF_MAP_FREEZE, sizeof(attr)));
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	say("map frozen writable", memory == MAP_FAILED ? -1 : 0);
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map, 0);
	say("map frozen readable", memory == MAP_FAILED ? -1 : 0);
	say_value("seen in memory", memory == MAP_FAILED ? 0 : memory[1]);
	close(map);

	map = create("rodata create", BPF_MAP_TYPE_ARRAY, 4, 8, 4,
		     BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
	key = 0;
	say("rodata update", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	say("rodata freeze", bpf(BPF_MAP_FREEZE, sizeof(attr)));
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map, 0);
	say("rodata mmap", memory == MAP_FAILED ? -1 : 0);
	say_value("rodata", memory == MAP_FAILED ? 0 : memory[0]);
	say("rodata update frozen", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	close(map);

	map = create("user read-only create", BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_RDONLY);
	say("user read-only update", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	say("user read-only lookup", elem(BPF_MAP_LOOKUP_ELEM, map, &key, &value, 0));
	close(map);
	map = create("user write-only create", BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_WRONLY);
	say("user write-only update", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	say("user write-only lookup", elem(BPF_MAP_LOOKUP_ELEM, map, &key, &value, 0));
	say("user write-only next", elem(BPF_MAP_GET_NEXT_KEY, map, NULL, &key, 0));
	close(map);
}

static const struct bpf_insn exit_0[] = {
	{ .code = 0xb7 },
	{ .code = 0x95 },
};

static long load(unsigned int type, const struct bpf_insn *insns, unsigned int count,
		 const char *license)
{
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = count;
	attr.license = (unsigned long)license;
	return bpf(BPF_PROG_LOAD, sizeof(attr));
}

static void programs(void)
{
	static char log[4096];
	struct bpf_insn bad[] = { { .code = 0x95 } };
	struct bpf_prog_info info;
	long program = load(BPF_PROG_TYPE_KPROBE, exit_0, 2, "GPL");
	uint32_t id;

	say("load", program);
	say("load nothing", load(BPF_PROG_TYPE_KPROBE, exit_0, 0, "GPL"));
	say("load too much", load(BPF_PROG_TYPE_KPROBE, exit_0, 1000001, "GPL"));
	say("load null", load(BPF_PROG_TYPE_KPROBE, NULL, 2, "GPL"));
	say("load null license", load(BPF_PROG_TYPE_KPROBE, exit_0, 2, NULL));
	say("load unknown type", load(1000, exit_0, 2, "GPL"));
	say("load bad", load(BPF_PROG_TYPE_KPROBE, bad, 1, "GPL"));
	load(BPF_PROG_TYPE_KPROBE, exit_0, 2, "GPL");
	attr.prog_flags = 1u << 31;
	say("load unknown flags", bpf(BPF_PROG_LOAD, sizeof(attr)));
	attr.prog_flags = 0;
	attr.log_level = 1;
	say("load log without buffer", bpf(BPF_PROG_LOAD, sizeof(attr)));
	attr.log_buf = (unsigned long)log;
	say("load log without size", bpf(BPF_PROG_LOAD, sizeof(attr)));
	attr.log_size = sizeof(log);
	attr.log_level = 0;
	say("load log without level", bpf(BPF_PROG_LOAD, sizeof(attr)));
	attr.log_level = 64;
	say("load log level 64", bpf(BPF_PROG_LOAD, sizeof(attr)));
	attr.log_level = 1;
	say("load with log", bpf(BPF_PROG_LOAD, sizeof(attr)));
	say_value("log starts with processed", strncmp(log, "processed ", 10) == 0);
	attr.insns = (unsigned long)bad;
	attr.insn_cnt = 1;
	memset(log, 0, sizeof(log));
	say("load bad with log", bpf(BPF_PROG_LOAD, sizeof(attr)));
	say_value("log names r0", strstr(log, "R0 !read_ok") != NULL);
	attr.log_size = 8;
	say("load bad with short log", bpf(BPF_PROG_LOAD, sizeof(attr)));
	say_value("short log is terminated", log[7] == 0);

	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (unsigned int)program;
	attr.info.info_len = sizeof(info);
	attr.info.info = (unsigned long)&info;
	say("info", bpf(BPF_OBJ_GET_INFO_BY_FD, sizeof(attr)));
	say_value("info type", info.type);
	say_value("info maps", info.nr_map_ids);
	say_value("info gpl", info.gpl_compatible);
	say_value("info has id", info.id != 0);
	id = info.id;
	memset(&attr, 0, sizeof(attr));
	attr.prog_id = id;
	say("fd by id", bpf(BPF_PROG_GET_FD_BY_ID, sizeof(attr)));
	attr.prog_id = 0x7ffffff0;
	say("fd by unknown id", bpf(BPF_PROG_GET_FD_BY_ID, sizeof(attr)));
	memset(&attr, 0, sizeof(attr));
	attr.start_id = 0xffffffff;
	say("next id after the last", bpf(BPF_PROG_GET_NEXT_ID, sizeof(attr)));
	attr.start_id = 0x7ffffff0;
	say("next id after a large one", bpf(BPF_PROG_GET_NEXT_ID, sizeof(attr)));

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (unsigned int)program;
	attr.link_create.target_fd = (unsigned int)-1;
	attr.link_create.attach_type = BPF_PERF_EVENT;
	say("link to nothing", bpf(BPF_LINK_CREATE, sizeof(attr)));
	attr.link_create.target_fd = (unsigned int)program;
	say("link to a program", bpf(BPF_LINK_CREATE, sizeof(attr)));
	attr.link_create.prog_fd = 1000;
	say("link of nothing", bpf(BPF_LINK_CREATE, sizeof(attr)));
	say("map call on a program", elem(BPF_MAP_LOOKUP_ELEM, (int)program, &id, &id, 0));
	say("map call on standard output", elem(BPF_MAP_LOOKUP_ELEM, 1, &id, &id, 0));
}

// What the kernel makes of a program's instructions: tag, and what it shows of them. Ids of maps and
// numbers of helpers, which are addresses in the kernel, differ.
static void instructions(void)
{
	int map = create("values create", BPF_MAP_TYPE_ARRAY, 4, 64, 1, 0);
	int fds[] = { 1000, map };
	const struct bpf_insn insns[] = {
		{ .code = 0xbf, .dst_reg = 6, .src_reg = 1 },
		{ .code = 0x18, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		{ .code = 0x18, .dst_reg = 3, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map },
		{ .imm = 8 },
		{ .code = 0x18, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_IDX, .imm = 1 },
		{ 0 },
		{ .code = 0x18, .dst_reg = 4, .src_reg = BPF_PSEUDO_MAP_IDX_VALUE, .imm = 1 },
		{ .imm = 16 },
		{ .code = 0x18, .dst_reg = 5, .imm = 0x12345678 },
		{ .imm = 0x7abcdef0 },
		{ .code = 0x7b, .dst_reg = 3, .src_reg = 5, .off = 0 },
		{ .code = 0xdb, .dst_reg = 4, .src_reg = 5, .off = 8, .imm = 1 },
		{ .code = 0x85, .imm = BPF_FUNC_ktime_get_ns },
		{ .code = 0x79, .dst_reg = 1, .src_reg = 6, .off = 80 },
		{ .code = 0x85, .src_reg = BPF_PSEUDO_CALL, .imm = 2 },
		{ .code = 0x57, .dst_reg = 0, .imm = 1 },
		{ .code = 0x95 },
		{ .code = 0xbf, .dst_reg = 0, .src_reg = 1 },
		{ .code = 0x0f, .dst_reg = 0, .src_reg = 1 },
		{ .code = 0x95 },
	};
	const unsigned int count = sizeof(insns) / sizeof(insns[0]);
	struct bpf_insn shown[sizeof(insns) / sizeof(insns[0])];
	struct bpf_map_info of_map;
	uint64_t code[2] = { 0 };
	struct bpf_prog_info info;
	uint64_t tag = 0;
	int program;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_KPROBE;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = count;
	attr.license = (unsigned long)"GPL";
	attr.fd_array = (unsigned long)fds;
	program = (int)bpf(BPF_PROG_LOAD, sizeof(attr));
	say("instructions load", program);

	memset(&attr, 0, sizeof(attr));
	memset(&of_map, 0, sizeof(of_map));
	attr.info.bpf_fd = (unsigned int)map;
	attr.info.info_len = sizeof(of_map);
	attr.info.info = (unsigned long)&of_map;
	bpf(BPF_OBJ_GET_INFO_BY_FD, sizeof(attr));
#define INFO(label, length, address) \
	(memset(&attr, 0, sizeof(attr)), memset(&info, 0, sizeof(info)), \
	 attr.info.bpf_fd = (unsigned int)program, attr.info.info_len = sizeof(info), \
	 attr.info.info = (unsigned long)&info, info.xlated_prog_len = (length), \
	 info.xlated_prog_insns = (unsigned long)(address), \
	 say(label, bpf(BPF_OBJ_GET_INFO_BY_FD, sizeof(attr))))
	memset(shown, 0, sizeof(shown));
	INFO("instructions info", 0, shown);
	say_value("length", info.xlated_prog_len);
	say_value("nothing is shown", shown[0].code == 0);
	memcpy(&tag, info.tag, sizeof(tag));
	say_value("tag", tag);
	INFO("instructions at null", 8, NULL);
	INFO("one instruction", 8, shown);
	say_value("length", info.xlated_prog_len);
	say_value("address is kept", info.xlated_prog_insns == (unsigned long)shown);
	say_value("one is shown", shown[0].code == 0xbf && shown[1].code == 0);
	INFO("all instructions", sizeof(shown) + 100, shown);
	for (unsigned int i = 0; i < count; i++) {
		bool loads_map = shown[i].code == 0x18 && shown[i].src_reg;
		bool helper = shown[i].code == 0x85 && !shown[i].src_reg;

		say_value("code", shown[i].code);
		say_value("registers", shown[i].dst_reg << 4 | shown[i].src_reg);
		say_value("offset", (uint16_t)shown[i].off);
		if (loads_map)
			say_value("names the map", (uint32_t)shown[i].imm == of_map.id);
		else if (!helper)
			say_value("immediate", (uint32_t)shown[i].imm);
	}
	say_value("has machine code", info.jited_prog_len > 0);
	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (unsigned int)program;
	attr.info.info_len = sizeof(info);
	attr.info.info = (unsigned long)&info;
	info.jited_prog_len = sizeof(code);
	info.jited_prog_insns = (unsigned long)code;
	say("machine code", bpf(BPF_OBJ_GET_INFO_BY_FD, sizeof(attr)));
	say_value("machine code is shown", code[0] || code[1]);
#undef INFO
	close(program);
	close(map);
}

static void events(void)
{
	struct perf_event_attr event;
	int fd, map, epoll = epoll_create1(0);
	struct epoll_event wanted = { .events = EPOLLIN };
	uint32_t key = 0, value;
	void *memory;

	memset(&event, 0, sizeof(event));
	event.size = sizeof(event);
	event.type = PERF_TYPE_SOFTWARE;
	event.config = PERF_COUNT_SW_BPF_OUTPUT;
	event.sample_type = PERF_SAMPLE_RAW;
	event.sample_period = 1;
	event.wakeup_events = 1;
	fd = (int)syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	say("output event", fd);
	say_value("closed on exec", (unsigned long long)(fcntl(fd, F_GETFD) & FD_CLOEXEC));
	memory = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("output mmap", memory == MAP_FAILED ? -1 : 0);
	say("output enable", ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	map = create("output map", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 2, 0);
	value = (uint32_t)fd;
	say("output store", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	say("output epoll", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted));
	say("output epoll again", epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted));
	say("output epoll modify", epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &wanted));
	say("output epoll delete", epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
	say("output epoll delete again", epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
	say("output remove", elem(BPF_MAP_DELETE_ELEM, map, &key, NULL, 0));
	say("output remove again", elem(BPF_MAP_DELETE_ELEM, map, &key, NULL, 0));
	key = 5;
	say("output store outside", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	key = 0;
	value = 1;
	say("output store of no event", elem(BPF_MAP_UPDATE_ELEM, map, &key, &value, 0));
	say("output disable", ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	say("output set program", ioctl(fd, PERF_EVENT_IOC_SET_BPF, 1000));
	say("event of nobody", syscall(SYS_perf_event_open, &event, -1, -1, -1, 0));
	event.size = 7;
	say("event too small", syscall(SYS_perf_event_open, &event, -1, 0, -1, 0));
	say("event at null", syscall(SYS_perf_event_open, NULL, -1, 0, -1, 0));
	say("perf ioctl on standard output", ioctl(1, PERF_EVENT_IOC_ENABLE, 0));

	map = create("ringbuf", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	say("ringbuf consumer", memory == MAP_FAILED ? -1 : 0);
	memory = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, map, 4096);
	say("ringbuf producer", memory == MAP_FAILED ? -1 : 0);
	say("ringbuf epoll", epoll_ctl(epoll, EPOLL_CTL_ADD, map, &wanted));
	say("ringbuf epoll bad instance", epoll_ctl(1, EPOLL_CTL_ADD, map, &wanted));
	say("pipe epoll", ({
		int ends[2];
		long result = pipe(ends);

		result ? result : epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &wanted);
	}));
}

__attribute__((noinline)) static void probed(void)
{
	__asm__ volatile("nop; nop; nop; nop; nop; nop");
}

// Offset in the file of an address in this program.
static uint64_t file_offset(const void *address)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, offset, found = 0;
	char line[512];

	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 &&
		    (unsigned long)address >= start && (unsigned long)address < end)
			found = (unsigned long)address - start + offset;
	fclose(maps);
	return found;
}

static int uprobe(const char *label, const char *path, uint64_t offset, bool returns, int pid, int cpu)
{
	struct perf_event_attr event;
	char text[16] = "";
	int fd = open("/sys/bus/event_source/devices/uprobe/type", O_RDONLY);

	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	memset(&event, 0, sizeof(event));
	event.size = sizeof(event);
	event.type = (unsigned int)atoi(text);
	event.config = returns;
	event.config1 = (unsigned long)path;
	event.config2 = offset;
	fd = (int)syscall(SYS_perf_event_open, &event, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	say(label, fd);
	return fd;
}

static void uprobes(void)
{
	uint64_t offset = file_offset((const void *)probed);
	int entry = uprobe("uprobe", "/proc/self/exe", offset, false, -1, 0);
	int ret = uprobe("uretprobe", "/proc/self/exe", offset, true, getpid(), -1);
	int kprobe = (int)load(BPF_PROG_TYPE_KPROBE, exit_0, 2, "GPL");
	int filter = (int)load(BPF_PROG_TYPE_SOCKET_FILTER, exit_0, 2, "GPL");
	struct bpf_link_info info;
	int link;

	uprobe("uprobe of nobody", "/proc/self/exe", offset, false, -1, -1);
	uprobe("uprobe in no file", "/no/such/file", offset, false, -1, 0);
	uprobe("uprobe in a directory", "/", 0, false, -1, 0);
	uprobe("uprobe at no path", NULL, 0, false, -1, 0);
	uprobe("uprobe of a process that is gone", "/proc/self/exe", offset, false, 0x3fffff, -1);

	say("set program of another type", ioctl(entry, PERF_EVENT_IOC_SET_BPF, filter));
	say("set nothing", ioctl(entry, PERF_EVENT_IOC_SET_BPF, 1000));
	say("disable", ioctl(entry, PERF_EVENT_IOC_DISABLE, 0));
	say("set program", ioctl(entry, PERF_EVENT_IOC_SET_BPF, kprobe));
	say("set program again", ioctl(entry, PERF_EVENT_IOC_SET_BPF, kprobe));

	ioctl(ret, PERF_EVENT_IOC_DISABLE, 0);
	memset(&attr, 0, sizeof(attr));
	attr.link_create.target_fd = (unsigned int)ret;
	attr.link_create.attach_type = BPF_PERF_EVENT;
	attr.link_create.prog_fd = (unsigned int)filter;
	say("link program of another type", bpf(BPF_LINK_CREATE, sizeof(attr)));
	attr.link_create.prog_fd = (unsigned int)kprobe;
	attr.link_create.flags = 1;
	say("link with flags", bpf(BPF_LINK_CREATE, sizeof(attr)));
	attr.link_create.flags = 0;
	attr.link_create.attach_type = BPF_CGROUP_INET_INGRESS;
	say("link with another attach type", bpf(BPF_LINK_CREATE, sizeof(attr)));
	attr.link_create.attach_type = BPF_PERF_EVENT;
	link = (int)bpf(BPF_LINK_CREATE, sizeof(attr));
	say("link", link);
	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (unsigned int)link;
	attr.info.info_len = sizeof(info);
	attr.info.info = (unsigned long)&info;
	say("link info", bpf(BPF_OBJ_GET_INFO_BY_FD, sizeof(attr)));
	say_value("link type", info.type);
	say_value("link has program", info.prog_id != 0);
	memset(&attr, 0, sizeof(attr));
	attr.link_detach.link_fd = (unsigned int)link;
	say("link detach", bpf(BPF_LINK_DETACH, sizeof(attr)));
	close(link);
	close(entry);
	close(ret);
	probed();
}

static void surroundings(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	struct stat status;
	char text[64];
	int fd;

	say("memlock", setrlimit(RLIMIT_MEMLOCK, &limit));
	say_value("user", geteuid());
	fd = open("/sys/bus/event_source/devices/uprobe/type", O_RDONLY | O_CLOEXEC);
	say("uprobe type", fd);
	say_value("uprobe type has digits",
		  fd >= 0 && read(fd, text, sizeof(text)) > 1 && text[0] >= '0' && text[0] <= '9');
	say("uprobe type write", open("/sys/bus/event_source/devices/uprobe/type", O_WRONLY));
	say("uprobe type stat", stat("/sys/bus/event_source/devices/uprobe/type", &status));
	say_value("uprobe type is a file", S_ISREG(status.st_mode));
	say("uprobe type access", access("/sys/bus/event_source/devices/uprobe/type", R_OK));
	fd = open("/sys/bus/event_source/devices/uprobe/format/retprobe", O_RDONLY);
	memset(text, 0, sizeof(text));
	say_value("retprobe format", read(fd, text, sizeof(text)) > 0 && !strcmp(text, "config:0\n"));
	say("no such file", open("/no/such/file", O_RDONLY));
	say("path at null", syscall(SYS_open, NULL, O_RDONLY));
	say("possible cpus", open("/sys/devices/system/cpu/possible", O_RDONLY));
}

int main(void)
{
	creation();
	sizes();
	elements("hash", BPF_MAP_TYPE_HASH);
	elements("array", BPF_MAP_TYPE_ARRAY);
	elements("percpu hash", BPF_MAP_TYPE_PERCPU_HASH);
	elements("percpu array", BPF_MAP_TYPE_PERCPU_ARRAY);
	batches();
	mapping();
	programs();
	instructions();
	events();
	uprobes();
	surroundings();
	return 0;
}
