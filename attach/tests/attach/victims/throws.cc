// A program whose exceptions pass through functions. On standard input: an order and a number N, as
// in "throw 10"; answered by "done".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <execinfo.h>
#include <pthread.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE extern "C" __attribute__((noinline, noclone))

static int failures;
static volatile long destroyed;

// Has no clean-up, so its unwind information looks like that of a function in C.
NOINLINE long thrower(long n)
{
	if (n % 2)
		throw n;
	return n + 1;
}

NOINLINE long between(long n)
{
	return thrower(n) + 1;
}

// Jumps to `between` instead of calling it.
NOINLINE long jumper(long n)
{
	return between(n);
}

// Calls nothing.
NOINLINE long leaf(long n)
{
	asm volatile("" ::: "memory");
	return n * 3;
}

static void check(bool right)
{
	if (!right)
		__atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

// One exception in two turns of `i`.
template <typename F> static void catches(long i, F call)
{
	long caught = -1, value = -1;
	try {
		value = call(i);
	} catch (long thrown) {
		caught = thrown;
	}
	check(i % 2 ? caught == i : value == i + 2);
}

static void order_throw(long n)
{
	for (long i = 0; i < n; i++) {
		catches(i, between);
		catches(i, jumper);
		check(leaf(i) == i * 3);
	}
}

// Calls functions that may throw, from a destructor that runs while an exception is on its way.
struct Cleaner {
	long n;
	~Cleaner()
	{
		destroyed++;
		catches(n, between);
		catches(n + 1, between);
	}
};

NOINLINE long cleans(long n)
{
	Cleaner cleaner{n};
	return between(n) + (leaf(n) - n * 3);
}

// Catches what goes through it and throws it, or something else, again.
NOINLINE long rethrows(long n)
{
	try {
		return cleans(n);
	} catch (long thrown) {
		if (n % 4 == 1)
			throw;
		throw std::to_string(thrown);
	}
}

// Returns although an exception came.
NOINLINE long survives(long n)
{
	try {
		return rethrows(n);
	} catch (const std::string &text) {
		return atol(text.c_str());
	} catch (long thrown) {
		return -thrown;
	}
}

static void order_nested(long n)
{
	for (long i = 0; i < n; i++) {
		long before = destroyed;
		long right = i % 2 == 0 ? i + 2 : i % 4 == 1 ? -i : i;
		check(survives(i) == right);
		check(destroyed == before + 1);
	}
}

static void *worker(void *n)
{
	for (long i = 0; i < (long)n; i++)
		catches(i, between);
	return nullptr;
}

static void order_threads(long n)
{
	pthread_t threads[4];
	for (pthread_t &thread : threads)
		pthread_create(&thread, nullptr, worker, (void *)n);
	for (pthread_t thread : threads)
		pthread_join(thread, nullptr);
}

// Compares, as the library of the C language calls it, where comparing throws.
static int compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	if (x == 7 || y == 7)
		throw 7L;
	return (x > y) - (x < y);
}

static void order_sort(long n)
{
	for (long i = 0; i < n; i++) {
		long numbers[] = {5, 3, i % 2 ? 7 : 8, 1}, caught = 0;
		try {
			qsort(numbers, 4, sizeof(long), compare);
		} catch (long thrown) {
			caught = thrown;
		}
		check(i % 2 ? caught == 7 : numbers[0] == 1 && numbers[3] == 8);
	}
}

static void *frames[64];

NOINLINE long innermost(long n)
{
	long count = backtrace(frames, 64);
	return n ? count : 0;
}

NOINLINE long traced(long n)
{
	return innermost(n) + 1;
}

// `traced` returns into it, which the backtrace must show.
NOINLINE long tracing(long n)
{
	long count = traced(n) - 1;
	bool seen = false;
	for (long i = 0; i < count; i++)
		seen |= (char *)frames[i] > (char *)tracing && (char *)frames[i] < (char *)tracing + 256;
	check(seen && count >= 4);
	return count;
}

static void order_trace(long n)
{
	for (long i = 1; i <= n; i++)
		tracing(i);
}

static int pipes[2];

NOINLINE long waits(long n)
{
	char byte;
	struct Mark {
		~Mark() { __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED); }
	} mark;
	return n + read(pipes[0], &byte, 1);
}

NOINLINE long leaves(long n)
{
	struct Mark {
		~Mark() { __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED); }
	} mark;
	if (n)
		pthread_exit((void *)n);
	return n;
}

static void *cancelled(void *)
{
	return (void *)waits(1);
}

static void *exits(void *)
{
	return (void *)leaves(42);
}

static void order_cancel(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t thread;
		void *result;
		long before = destroyed;
		pthread_create(&thread, nullptr, cancelled, nullptr);
		if (i % 2)
			usleep(1000);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		check(result == PTHREAD_CANCELED);
		check(destroyed == before + 1);
		pthread_create(&thread, nullptr, exits, nullptr);
		pthread_join(thread, &result);
		check(result == (void *)42);
		check(destroyed == before + 2);
	}
}

static int gate[2];
static pid_t child = -1;

// Forks a child that waits for "reap" and then throws; N is what it is to do.
static void order_fork(long n)
{
	if (pipe(gate))
		abort();
	child = fork();
	if (child == 0) {
		char byte;
		check(read(gate[0], &byte, 1) == 1);
		order_throw(n);
		order_nested(n);
		_exit(failures != 0);
	}
}

static void order_reap(long)
{
	int status = -1;
	check(write(gate[1], "g", 1) == 1);
	check(waitpid(child, &status, 0) == child);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// Throws until it is told otherwise.
static volatile bool over;

static void *thrower_thread(void *)
{
	while (!over)
		order_nested(8);
	return nullptr;
}

static pthread_t busy;

static void carry_out(const char *order, long n)
{
	static const struct {
		const char *name;
		void (*run)(long);
	} orders[] = {
		{"throw", order_throw},	  {"nested", order_nested}, {"threads", order_threads},
		{"sort", order_sort},	  {"trace", order_trace},   {"cancel", order_cancel},
		{"fork", order_fork},	  {"reap", order_reap},
		{"busy", [](long) { pthread_create(&busy, nullptr, thrower_thread, nullptr); }},
		{"idle", [](long) { over = true; pthread_join(busy, nullptr); }},
	};
	for (const auto &known : orders)
		if (!strcmp(order, known.name))
			known.run(n);
}

// Carries out the order in its arguments, else those on standard input.
int main(int argc, char **argv)
{
	char line[64];
	setvbuf(stdout, nullptr, _IOLBF, 0);
	if (pipe(pipes))
		return 1;
	if (argc > 2) {
		carry_out(argv[1], atol(argv[2]));
		puts(failures ? "wrong" : "right");
		return 0;
	}
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		char order[32] = "";
		long n = 0;
		sscanf(line, "%31s %ld", order, &n);
		carry_out(order, n);
		puts("done");
	}
	puts(failures ? "wrong" : "right");
	return 0;
}
