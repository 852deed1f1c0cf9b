/* A program whose functions are called as often as it is told to, and that checks what they
   return. On standard input: "call N", "recurse N", "tail N", "threads N", "fork N", "spawn" (a child that
   goes on calling), "reap" (the end of that child), "end".
   Each is answered by "done". */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static int failures;

NOINLINE uint64_t probed(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
			 uint64_t g, double x)
{
	__asm__ volatile("" ::: "memory");
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + (uint64_t)x;
}

NOINLINE uint64_t recursive(uint64_t n)
{
	__asm__ volatile("" ::: "memory");
	return n == 0 ? 0 : recursive(n - 1) + n;
}

NOINLINE uint64_t last(uint64_t n)
{
	__asm__ volatile("" ::: "memory");
	return n * 3;
}

NOINLINE __attribute__((optimize("optimize-sibling-calls"))) uint64_t first(uint64_t n)
{
	__asm__ volatile("" ::: "memory");
	return last(n + 1);
}

static jmp_buf place;

NOINLINE void jumping(int n)
{
	__asm__ volatile("" ::: "memory");
	if (n == 0)
		longjmp(place, 1);
	jumping(n - 1);
	__asm__ volatile("" ::: "memory");
}

/* Nothing but `xor eax, eax; ret`, and padding. */
__asm__(".globl tiny\n.type tiny, @function\n.balign 16\ntiny: xor %eax, %eax\nret\n.size tiny, .-tiny\n.balign 16\n");
uint64_t tiny(void);

static void call(long n)
{
	for (long i = 0; i < n; i++) {
		uint64_t u = i;
		if (probed(u, 1, 2, 3, 4, 5, 6, 2.5) != u + 2 + 6 + 12 + 20 + 30 + 42 + 2)
			failures++;
		if (tiny() != 0)
			failures++;
	}
}

static volatile sig_atomic_t told;

static void on_term(int sig)
{
	(void)sig;
	told = 1;
}

static void *calling(void *n)
{
	call(*(long *)n);
	return NULL;
}

static int serve(void)
{
	char line[64];
	pid_t spawned = 0;
	if (write(1, "ready\n", 6) != 6)
		return 2;
	while (fgets(line, sizeof(line), stdin)) {
		long n = strchr(line, ' ') ? atol(strchr(line, ' ') + 1) : 0;
		if (strncmp(line, "call", 4) == 0) {
			call(n);
		} else if (strncmp(line, "recurse", 7) == 0) {
			if (recursive(n) != (uint64_t)n * (n + 1) / 2)
				failures++;
		} else if (strncmp(line, "tail", 4) == 0) {
			for (long i = 0; i < n; i++)
				if (first(i) != (uint64_t)(i + 1) * 3)
					failures++;
		} else if (strncmp(line, "jump", 4) == 0) {
			for (volatile long i = 0; i < n; i++)
				if (setjmp(place) == 0)
					jumping(5);
		} else if (strncmp(line, "threads", 7) == 0) {
			pthread_t threads[8];
			for (int i = 0; i < 8; i++)
				pthread_create(&threads[i], NULL, calling, &n);
			for (int i = 0; i < 8; i++)
				pthread_join(threads[i], NULL);
		} else if (strncmp(line, "fork", 4) == 0) {
			pid_t child = fork();
			int status;
			if (child == 0) {
				call(n);
				_exit(failures != 0);
			}
			if (waitpid(child, &status, 0) != child || status != 0)
				failures++;
		} else if (strncmp(line, "spawn", 5) == 0) {
			spawned = fork();
			if (spawned == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				signal(SIGTERM, on_term);
				while (!told)
					call(1000);
				_exit(failures != 0);
			}
		} else if (strncmp(line, "reap", 4) == 0) {
			int status;
			kill(spawned, SIGTERM);
			if (waitpid(spawned, &status, 0) != spawned || status != 0)
				failures++;
		} else if (strncmp(line, "end", 3) == 0) {
			break;
		}
		if (write(1, "done\n", 5) != 5)
			return 2;
	}
	if (failures == 0)
		dprintf(1, "right\n");
	return failures != 0;
}

static void *serving(void *unused)
{
	(void)unused;
	exit(serve());
}

/* With an argument, its first thread ends at once. */
int main(int argc, char **argv)
{
	pthread_t thread;
	(void)argv;
	if (argc == 1)
		return serve();
	if (pthread_create(&thread, NULL, serving, NULL) != 0)
		return 2;
	pthread_exit(NULL);
}
