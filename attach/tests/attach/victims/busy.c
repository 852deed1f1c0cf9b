/* A program that notices when anything is wrong with it. Each mode is a thread that runs until
   the time is over and checks every result; the exit code is 0 if all of them were right.
   usage: busy MILLISECONDS MODE...; with 0 milliseconds it runs until SIGTERM. */
#define _GNU_SOURCE
#include <errno.h>
#define FUTEX_WAIT_PRIVATE 128
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t end;
static atomic_int failures;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int over(void)
{
	return now() > end;
}

static void wrong(const char *what, long value)
{
	dprintf(2, "wrong: %s: %ld\n", what, value);
	failures++;
}

#define ROUND 5000000LL

/* Whatever happens to us, a wait of 5 ms lasts 5 ms and ends by itself. */
static void waited(const char *what, int64_t start, long result, long expected)
{
	int64_t took = now() - start;
	if (result != expected)
		wrong(what, result);
	if (took < ROUND)
		wrong(what, took);
}

/* Integer, floating point and vector registers, and the flags, over many loop turns. */
static void *spin(void *unused)
{
	(void)unused;
	while (!over()) {
		uint64_t a = 1, b = 2, c = 3, d = 4;
		double x = 0, y = 0;
		uint64_t vector[2] = { 0, 0 };
		for (int i = 0; i < 20000; i++) {
			a = a * 6364136223846793005ULL + 1442695040888963407ULL;
			b ^= a >> 33;
			c += b > a;
			d = (d << 7 | d >> 57) ^ c;
			x += i * 0.5;
			y += x / 1024;
			__asm__ volatile("movdqu %0, %%xmm9\n\tpaddq %1, %%xmm9\n\tmovdqu %%xmm9, %0"
					 : "+m"(vector) : "m"(*(uint64_t(*)[2])(uint64_t[2]){ 3, 5 }) : "xmm9");
		}
		static _Atomic uint64_t expected;
		uint64_t sum = a ^ b ^ c ^ d ^ (uint64_t)x ^ (uint64_t)(y * 16), none = 0;
		if (!atomic_compare_exchange_strong(&expected, &none, sum) && none != sum)
			wrong("spin", (long)sum);
		if (vector[0] != 60000 || vector[1] != 100000)
			wrong("vector", (long)vector[0]);
	}
	return NULL;
}

static void *sleeper(void *unused)
{
	(void)unused;
	while (!over()) {
		struct timespec t = { 0, ROUND };
		int64_t start = now();
		waited("nanosleep", start, syscall(SYS_nanosleep, &t, NULL), 0);
	}
	return NULL;
}

static void *poller(void *unused)
{
	(void)unused;
	while (!over()) {
		int64_t start = now();
		waited("poll", start, poll(NULL, 0, 5), 0);
	}
	return NULL;
}

static void *futex(void *unused)
{
	static int word;
	(void)unused;
	while (!over()) {
		struct timespec t = { 0, ROUND };
		int64_t start = now();
		long result = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
		waited("futex", start, result < 0 ? errno : result, ETIMEDOUT);
	}
	return NULL;
}

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static int epoll_fd, datagrams[2];

/* Without a signal handler these have no reason to give EINTR. */
static void *epoll(void *unused)
{
	struct epoll_event event;
	(void)unused;
	while (!over()) {
		int64_t start = now();
		long result = epoll_wait(epoll_fd, &event, 1, 6);
		waited("epoll", start, result < 0 ? -errno : result, 0);
	}
	return NULL;
}

static void *receiver(void *unused)
{
	struct timeval limit = { 0, 8000 };
	char byte;
	(void)unused;
	setsockopt(datagrams[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while (!over()) {
		int64_t start = now();
		long result = recv(datagrams[0], &byte, 1, 0);
		waited("recv", start, result < 0 ? errno : result, EAGAIN);
	}
	return NULL;
}

/* A signal handler is a reason for EINTR, and it must not get lost. */
static volatile sig_atomic_t seen;

static void on_user(int sig)
{
	(void)sig;
	seen++;
}

static void *interrupted(void *unused)
{
	int before = 0;
	struct epoll_event event;
	struct timespec soon = { 0, 1000000 };
	struct itimerspec once = { { 0, 0 }, soon };
	struct sigevent notify = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	sigset_t all, most;
	timer_t timer;
	(void)unused;
	notify.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	sigfillset(&all);
	most = all;
	sigdelset(&most, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	if (timer_create(CLOCK_MONOTONIC, &notify, &timer) != 0)
		wrong("timer_create", errno);
	while (!over()) {
		timer_settime(timer, 0, &once, NULL);
		/* A stop may give EINTR too, but whenever the handler has run the call has ended. */
		while (seen == before)
			if (epoll_pwait(epoll_fd, &event, 1, -1, &most) != -1 || errno != EINTR)
				wrong("epoll_pwait", errno);
		if (seen != ++before)
			wrong("signals seen", seen);
	}
	return NULL;
}

static int pipe_fds[2];

static void *reader(void *unused)
{
	uint32_t expected = 0, got;
	(void)unused;
	for (;;) {
		ssize_t n = read(pipe_fds[0], &got, sizeof(got));
		if (n == 0)
			return NULL;
		if (n != sizeof(got) || got != expected++)
			wrong("read", n < 0 ? -errno : (long)got);
	}
}

static void *writer(void *unused)
{
	(void)unused;
	for (uint32_t i = 0; !over(); i++) {
		if (write(pipe_fds[1], &i, sizeof(i)) != sizeof(i))
			wrong("write", errno);
		usleep(300);
	}
	close(pipe_fds[1]);
	return NULL;
}

/* Queued signals arrive all and in order, in a thread that waits with sigsuspend. */
static atomic_int queued_next;

static void on_queued(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (info->si_value.sival_int != queued_next++)
		wrong("queued", info->si_value.sival_int);
}

static void *suspender(void *unused)
{
	(void)unused;
	sigset_t set;
	sigfillset(&set);
	sigdelset(&set, SIGRTMIN);
	while (!over()) {
		int before = queued_next;
		siginfo_t info = { .si_signo = SIGRTMIN, .si_code = SI_QUEUE, .si_pid = getpid(),
				   .si_uid = getuid() };
		info.si_value.sival_int = before;
		syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGRTMIN, &info);
		if (sigsuspend(&set) != -1 || errno != EINTR)
			wrong("sigsuspend", errno);
		if (queued_next != before + 1)
			wrong("signals seen", queued_next);
	}
	return NULL;
}

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	(void)sig;
	int saved = errno;
	ticks++;
	errno = saved;
}

/* A timer that interrupts the main thread a thousand times a second. */
static void ticking(void *(*run)(void *))
{
	struct sigaction act = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	run(NULL);
	timer.it_value.tv_usec = timer.it_interval.tv_usec = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	if (ticks == 0)
		wrong("ticks", 0);
}

static void *one_of_many(void *unused)
{
	(void)unused;
	struct timespec t = { 0, 100000 };
	nanosleep(&t, NULL);
	return NULL;
}

/* Threads come and go. */
static void *spawner(void *unused)
{
	(void)unused;
	while (!over()) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, one_of_many, NULL) == 0)
			pthread_join(thread, NULL);
		else
			wrong("pthread_create", errno);
	}
	return NULL;
}

/* Functions that are called all the time, to be hooked. */
__attribute__((noinline, noclone)) uint64_t hot(uint64_t a, uint64_t b)
{
	__asm__ volatile("" ::: "memory");
	return a * 31 + (b ^ 0x5555);
}

__attribute__((noinline, noclone)) uint64_t deep(uint64_t n)
{
	__asm__ volatile("" ::: "memory");
	return n == 0 ? 1 : deep(n - 1) + hot(n, n);
}

static void *calling(void *unused)
{
	static _Atomic uint64_t expected;
	(void)unused;
	while (!over()) {
		uint64_t sum = 0, none = 0;
		double x = 1.0;
		for (uint64_t i = 0; i < 2000; i++) {
			sum = hot(sum, i);
			x = x * 1.0001 + (double)(sum & 3);
		}
		sum += deep(50) + (uint64_t)x;
		if (!atomic_compare_exchange_strong(&expected, &none, sum) && none != sum)
			wrong("hot", (long)sum);
	}
	return NULL;
}

static void *until_told(void *unused)
{
	sigset_t set;
	int sig;
	(void)unused;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigwait(&set, &sig);
	end = 0;
	return NULL;
}

int main(int argc, char **argv)
{
	struct {
		const char *name;
		void *(*run)(void *);
	} modes[] = {
		{ "spin", spin }, { "nanosleep", sleeper }, { "poll", poller }, { "futex", futex },
		{ "read", reader }, { "write", writer }, { "sigsuspend", suspender },
		{ "threads", spawner }, { "epoll", epoll },
		{ "recv", receiver }, { "interrupted", interrupted }, { "hot", calling },
	};
	pthread_t threads[64];
	int count = 0, tick = 0;
	struct sigaction act = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };

	end = now() + atoll(argv[1]) * 1000000LL;
	sigaction(SIGRTMIN, &act, NULL);
	act.sa_flags = 0;
	act.sa_handler = on_user;
	sigaction(SIGUSR1, &act, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	epoll_fd = epoll_create1(0);
	/* The heap is there before anybody looks. */
	free(malloc(100));
	if (pipe(pipe_fds) != 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) != 0)
		return 2;
	if (atoll(argv[1]) == 0) {
		end = INT64_MAX;
		pthread_create(&threads[count++], NULL, until_told, NULL);
	}
	if (write(1, "ready\n", 6) != 6)
		return 2;
	for (int i = 2; i < argc; i++) {
		int last = i == argc - 1;
		if (strcmp(argv[i], "tick") == 0)
			tick = 1;
		if (strcmp(argv[i], "tick-hot") == 0)
			tick = 2;
		for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
			if (strcmp(argv[i], modes[m].name) != 0)
				continue;
			/* The last mode runs in the main thread, so that one mode means one thread. */
			if (last && !tick)
				modes[m].run(NULL);
			else if (count < 64)
				pthread_create(&threads[count++], NULL, modes[m].run, NULL);
		}
	}
	if (tick)
		ticking(tick == 2 ? calling : spin);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	if (failures == 0)
		dprintf(1, "right\n");
	return failures != 0;
}
