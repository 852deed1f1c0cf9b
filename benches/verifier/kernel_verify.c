// Asks the kernel's verifier for its verdict on one program of an object, and for the time that it
// took by its own account: kernel_verify OBJECT SECTION FUNCTION TYPE ROUNDS
//
// Prints "accept" or "reject", and the microseconds of each round; nothing and exit code 2 if the
// object cannot be loaded so far that the verifier sees the program. TYPE is the number of the
// program type for sections whose name does not tell it, 0 for the others.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define LOG_BYTES (1 << 24)
/* BPF_LOG_STATS of the kernel: only the summary. */
#define LOG_STATS 4

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

/* One load. Returns the microseconds, or -1 if the verifier did not see the program. */
static long load(char **argument, char *log, int *accepted)
{
	struct bpf_object *object = bpf_object__open_file(argument[1], NULL);
	struct bpf_program *program;
	int found = 0;
	long micros = -1;
	char *line;

	if (!object)
		return -1;
	bpf_object__for_each_program(program, object) {
		int this = !strcmp(bpf_program__section_name(program), argument[2]) &&
			   !strcmp(bpf_program__name(program), argument[3]);

		bpf_program__set_autoload(program, this);
		if (!this)
			continue;
		found = 1;
		if (atoi(argument[4]))
			bpf_program__set_type(program, atoi(argument[4]));
		bpf_program__set_log_level(program, LOG_STATS);
		bpf_program__set_log_buf(program, log, LOG_BYTES);
	}
	log[0] = 0;
	*accepted = found && !bpf_object__load(object);
	line = strstr(log, "verification time ");
	if (line)
		micros = atol(line + strlen("verification time "));
	bpf_object__close(object);
	return micros;
}

int main(int count, char **argument)
{
	char *log = malloc(LOG_BYTES);
	int rounds, accepted;

	if (count != 6 || !log)
		return 1;
	libbpf_set_print(silent);
	for (rounds = 0; rounds < atoi(argument[5]); rounds++) {
		long micros = load(argument, log, &accepted);

		if (micros < 0)
			return 2;
		if (!rounds)
			printf(accepted ? "accept" : "reject");
		printf(" %ld", micros);
	}
	printf("\n");
	return 0;
}
