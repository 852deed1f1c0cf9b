/* Confines itself and goes on: `confined strict` or `confined filter`; `confined later` does so at
   the first line that it reads. Reads lines, calls `probed` for each, and answers with "done", until
   the input ends. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((noinline, noclone)) int probed(int n)
{
	__asm__ volatile("" ::: "memory");
	return n * 3 + 1;
}

int main(int argc, char **argv)
{
	char byte;
	/* Kills for getpid and restart_syscall, allows the rest. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };
	struct pollfd input = { .fd = 0, .events = POLLIN };
	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "strict") == 0) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
			return 3;
	} else if (strcmp(argv[1], "filter") == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
			return 3;
	}
	if (write(1, "ready\n", 6) != 6)
		return 2;
	for (;;) {
		/* A time limit makes it a call that is restarted otherwise. */
		if (strcmp(argv[1], "strict") != 0 && poll(&input, 1, 100000) != 1)
			return 4;
		if (read(0, &byte, 1) != 1)
			break;
		if (strcmp(argv[1], "later") == 0) {
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
			if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
				return 3;
			argv[1] = "now";
		}
		if (byte == '\n' && (probed(byte) != 31 || write(1, "done\n", 5) != 5))
			return 2;
	}
	if (write(1, "right\n", 6) != 6)
		return 2;
	syscall(SYS_exit, 0);
	return 0;
}
