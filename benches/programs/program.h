/* What each program of the set is wrapped in. A program defines MEMORY, the bytes that it is given, and
 * `run`, and is compiled
 *
 * - for BPF, where the object has it twice: `flat` is called with the memory in r1 and its length in r2;
 *   `kernel` is an XDP program, because the kernel runs such ones by BPF_PROG_TEST_RUN, and finds its
 *   memory in the one value of the map of global data;
 * - for this machine, as a shared object with the function `native`.
 *
 * The length is hidden from the compiler, so that all three are compiled from the same knowledge. The
 * kernel's verifier sees it, as it stands in the register, and so does ours by what it is told of r2.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;

#define inline_always static inline __attribute__((always_inline))
#define function static __attribute__((noinline))
inline_always u64 run(u8 *mem, u64 len);

/* Reads of what is aligned in memory, which itself is aligned to 8 bytes. */
#define word16(at) (*(const u16 *)(at))
#define word32(at) (*(const u32 *)(at))
#define word64(at) (*(const u64 *)(at))

/* Forgets what the compiler knows of a value, without an instruction. */
#define forget(value) __asm__ volatile("" : "+r"(value))

#ifdef __bpf__

/* The question mark keeps libbpf from loading what is no program of the kernel's. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

u8 given[MEMORY] __attribute__((aligned(8)));

SEC("?memory") u64 flat(u8 *mem, u64 len)
{
	return run(mem, len);
}

SEC("xdp") u64 kernel(void *context)
{
	u8 *mem = given;
	u64 len = MEMORY;

	forget(mem);
	forget(len);
	return run(mem, len);
}

char _license[] SEC("license") = "GPL";

#else

u64 native(u8 *mem, u64 len)
{
	return run(mem, len);
}

#endif
#endif
