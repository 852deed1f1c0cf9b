// SPDX-License-Identifier: MIT
// Loads programs that must not run and prints, for each, the errno and the last line of the log
// that says why. Run on the kernel and under `bpftime load`, the two outputs can be compared.
//
// Output, one line a case: NAME ERRNO LAST-LINE-OF-LOG
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INSN(op, d, s, o, i) ((struct bpf_insn){ .code = op, .dst_reg = d, .src_reg = s, .off = o, .imm = i })
#define MOV_IMM(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define MOV_REG(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ADD_IMM(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | size, d, s, o, 0)
#define STORE_IMM(size, d, o, i) INSN(BPF_ST | BPF_MEM | size, d, 0, o, i)
#define MAP(d, fd) INSN(BPF_LD | BPF_DW | BPF_IMM, d, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define JEQ(d, i, o) INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, o, i)
#define JA(o) INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof *attr);
}

static char text[65536];

static void load(const char *name, const char *license, const struct bpf_insn *insns, size_t count)
{
	union bpf_attr attr;
	char *last, *line;
	long fd;

	memset(&attr, 0, sizeof attr);
	memset(text, 0, sizeof text);
	attr.prog_type = BPF_PROG_TYPE_KPROBE;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = count;
	attr.license = (unsigned long)license;
	attr.log_buf = (unsigned long)text;
	attr.log_size = sizeof text;
	attr.log_level = 1;
	fd = bpf(BPF_PROG_LOAD, &attr);
	last = "";
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10) && strncmp(line, "verification time", 17) &&
		    strncmp(line, "stack depth", 11))
			last = line;
	printf("%s %d %s\n", name, fd < 0 ? errno : 0, fd < 0 ? last : "");
	if (fd >= 0)
		close(fd);
}

#define CASE(name, ...)                                                              \
	do {                                                                         \
		const struct bpf_insn insns[] = { __VA_ARGS__ };                     \
		load(name, "GPL", insns, sizeof insns / sizeof *insns);              \
	} while (0)

int main(void)
{
	union bpf_attr attr;
	int map;

	memset(&attr, 0, sizeof attr);
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = 1;
	map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0) {
		perror("map");
		return 1;
	}
	CASE("accepted", MOV_IMM(0, 0), EXIT);
	CASE("uninitialised-result", EXIT);
	CASE("uninitialised-register", MOV_REG(0, 6), EXIT);
	CASE("number-dereferenced", MOV_IMM(1, 4096), LOAD(BPF_DW, 0, 1, 0), EXIT);
	CASE("stack-out-of-bounds", STORE_IMM(BPF_DW, 10, -520, 0), MOV_IMM(0, 0), EXIT);
	CASE("frame-pointer-written", MOV_IMM(10, 0), MOV_IMM(0, 0), EXIT);
	CASE("context-out-of-bounds", LOAD(BPF_DW, 0, 1, 4096), EXIT);
	CASE("null-not-checked", STORE_IMM(BPF_W, 10, -4, 1), MOV_REG(2, 10), ADD_IMM(2, -4),
	     MAP(1, map), CALL(1), LOAD(BPF_DW, 0, 0, 0), EXIT);
	CASE("value-out-of-bounds", STORE_IMM(BPF_W, 10, -4, 0), MOV_REG(2, 10), ADD_IMM(2, -4),
	     MAP(1, map), CALL(1), JEQ(0, 0, 1), LOAD(BPF_DW, 0, 0, 8), MOV_IMM(0, 0), EXIT);
	CASE("endless-loop", MOV_IMM(0, 0), JEQ(0, 0, -1), EXIT);
	CASE("jump-out-of-range", MOV_IMM(0, 0), JA(7), EXIT);
	CASE("falls-off-the-end", MOV_IMM(0, 0), MOV_IMM(0, 0));
	CASE("unknown-instruction", INSN(0xff, 0, 0, 0, 0), EXIT);
	CASE("unknown-helper", CALL(9999), EXIT);
	{
		const struct bpf_insn insns[] = {
			STORE_IMM(BPF_DW, 10, -8, 0), MOV_REG(1, 10), ADD_IMM(1, -8), MOV_IMM(2, 8),
			MOV_IMM(3, 0), CALL(113), MOV_IMM(0, 0), EXIT,
		};
		load("licence", "Proprietary", insns, sizeof insns / sizeof *insns);
	}
	return 0;
}
