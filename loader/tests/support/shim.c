// Preloaded into a libbpf tool: writes what it gives to BPF_MAP_CREATE and BPF_PROG_LOAD to the
// file named by BPF_LOG, one JSON object a line, and passes the call on.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static void words(FILE *log, const char *name, unsigned long long address, unsigned count,
		  unsigned size)
{
	const unsigned char *record = (const void *)address;
	fprintf(log, ",\"%s\":[", name);
	for (unsigned i = 0; i < count; i++) {
		fprintf(log, "%s[", i ? "," : "");
		for (unsigned at = 0; at + 4 <= size; at += 4) {
			unsigned word;
			memcpy(&word, record + (size_t)i * size + at, 4);
			fprintf(log, "%s%u", at ? "," : "", word);
		}
		fprintf(log, "]");
	}
	fprintf(log, "]");
}

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	va_list list;
	long a[6];

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");

	long result = next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	const char *path = getenv("BPF_LOG");
	if (number != SYS_bpf || !path)
		return result;
	union bpf_attr attr = {};
	memcpy(&attr, (void *)a[1], (size_t)a[2] < sizeof(attr) ? (size_t)a[2] : sizeof(attr));
	FILE *log = fopen(path, "a");
	if (!log)
		return result;
	if (a[0] == BPF_MAP_CREATE) {
		fprintf(log,
			"{\"map\":\"%.16s\",\"type\":%u,\"key\":%u,\"value\":%u,\"entries\":%u,"
			"\"flags\":%u,\"fd\":%ld}\n",
			attr.map_name, attr.map_type, attr.key_size, attr.value_size,
			attr.max_entries, attr.map_flags, result);
	} else if (a[0] == BPF_PROG_LOAD) {
		fprintf(log, "{\"program\":\"%.16s\",\"type\":%u,\"attach\":%u,\"fd\":%ld",
			attr.prog_name, attr.prog_type, attr.expected_attach_type, result);
		words(log, "insns", attr.insns, attr.insn_cnt, 8);
		words(log, "functions", attr.func_info, attr.func_info_cnt,
		      attr.func_info_rec_size);
		words(log, "lines", attr.line_info, attr.line_info_cnt, attr.line_info_rec_size);
		fprintf(log, "}\n");
	} else if (a[0] == BPF_MAP_FREEZE) {
		fprintf(log, "{\"freeze\":%u}\n", attr.map_fd);
	} else if (a[0] == BPF_MAP_UPDATE_ELEM) {
		fprintf(log, "{\"update\":%u}\n", attr.map_fd);
	}
	fclose(log);
	return result;
}
