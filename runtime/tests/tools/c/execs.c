// SPDX-License-Identifier: MIT
// Makes calls that write memory, from threads that come and go, before and after fork, vfork and
// exec: each is answered in the memory of the process that made it. Says "ok".
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// At the same address in every process.
static union bpf_attr *attr;

// Whether the first map's id was written.
static int call(union bpf_attr *at)
{
	memset(at, 0, sizeof(*at));
	return syscall(SYS_bpf, BPF_MAP_GET_NEXT_ID, at, sizeof(*at)) == 0 && at->next_id != 0;
}

static void *in_thread(void *good)
{
	union bpf_attr own;

	*(int *)good = call(&own);
	return NULL;
}

static int ended_well(int pid)
{
	int status = -1;

	return waitpid(pid, &status, 0) == pid && status == 0;
}

static int check(const char *what, int good)
{
	if (!good)
		printf("%s\n", what);
	return !good;
}

int main(int argc, char **argv)
{
	static int bad;
	int pid;

	(void)argv;
	attr = mmap((void *)0x200000000, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (attr == MAP_FAILED)
		return 2;
	if (argc > 1) {
		usleep(200000);
		return !call(attr);
	}
	memset(attr, 0, sizeof(*attr));
	attr->map_type = BPF_MAP_TYPE_ARRAY;
	attr->key_size = 4;
	attr->value_size = 4;
	attr->max_entries = 1;
	bad |= check("create", syscall(SYS_bpf, BPF_MAP_CREATE, attr, sizeof(*attr)) >= 0);
	bad |= check("call", call(attr));

	pid = vfork();
	if (pid == 0) {
		// In the parent's memory, and then in one of its own.
		if (!call(attr))
			_exit(3);
		execl("/proc/self/exe", "execs", "child", (char *)NULL);
		_exit(4);
	}
	memset(attr, 0, sizeof(*attr));
	bad |= check("after vfork and exec", ended_well(pid));
	bad |= check("the child's answer came here", attr->next_id == 0);

	pid = fork();
	if (pid == 0) {
		if (!call(attr))
			_exit(3);
		execl("/proc/self/exe", "execs", "child", (char *)NULL);
		_exit(4);
	}
	bad |= check("after fork and exec", ended_well(pid));
	bad |= check("the forked child's answer came here", attr->next_id == 0);

	for (int i = 0; i < 300; i++) {
		pthread_t thread;
		int good = 0;

		pthread_create(&thread, NULL, in_thread, &good);
		pthread_join(thread, NULL);
		bad |= check("in a thread", good);
	}
	bad |= check("at last", call(attr));
	if (!bad)
		puts("ok");
	return bad;
}
