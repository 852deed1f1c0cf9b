// Asks the running kernel for a verdict on each program of object files, one program at a time, as
// root: file, program, section, verdict (accept, reject, unloadable), microseconds, last line of the
// log, separated by tabs. "unloadable" are programs that never reach the verifier, for example
// because libbpf cannot open the object or make its maps. A program that the verifier has no complaint
// about is accepted, also if the object cannot be loaded for another reason (a map of programs that
// wants others, which are not loaded with it).
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char log_buffer[1 << 24];
static char said[512];

/// Keeps the last thing that libbpf complained about.
static int keep(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN)
		return 0;
	int length = vsnprintf(said, sizeof(said), format, arguments);
	for (char *c = said; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	return length;
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

/// The line of a log before its totals, in place.
static const char *last_line(char *log)
{
	char *found = NULL;
	for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10) != 0 && strncmp(line, "verification time", 17) != 0)
			found = line;
	for (char *c = found; c && *c; c++)
		if (*c == '\t')
			*c = ' ';
	return found ? found : "";
}

/// Judges the program of that number; 0 if there is none.
static int judge(const char *file, int wanted)
{
	struct bpf_object *object = bpf_object__open_file(file, NULL);
	if (!object) {
		if (wanted == 0)
			printf("%s\t\t\tunloadable\t0\t%s\n", file, said);
		return 0;
	}
	struct bpf_program *program, *chosen = NULL;
	int number = 0;
	bpf_object__for_each_program(program, object) {
		int take = number++ == wanted;
		bpf_program__set_autoload(program, take);
		if (take)
			chosen = program;
	}
	if (chosen) {
		log_buffer[0] = 0;
		said[0] = 0;
		bpf_program__set_log_buf(chosen, log_buffer, sizeof(log_buffer));
		bpf_program__set_log_level(chosen, 1);
		struct bpf_map *map;
		bpf_object__for_each_map(map, object)
			bpf_map__set_pin_path(map, NULL);
		double start = now();
		int error = bpf_object__load(object);
		double taken = now() - start;
		// The verifier ends its log with totals; what has none, or a total of nothing, did not get
		// there.
		const char *totals = strstr(log_buffer, "processed ");
		int judged = totals && strtoul(totals + strlen("processed "), NULL, 10) > 0;
		const char *reason = error && totals ? last_line(log_buffer) : "";
		int accepted = !error || (judged && !*reason);
		int rejected = error && *reason;
		printf("%s\t%s\t%s\t%s\t%.0f\t%s\n", file, bpf_program__name(chosen),
		       bpf_program__section_name(chosen),
		       accepted ? "accept" : rejected ? "reject" : "unloadable", taken,
		       accepted ? "" : rejected ? reason : said);
		fflush(stdout);
	}
	bpf_object__close(object);
	return chosen != NULL;
}

int main(int argc, char **argv)
{
	libbpf_set_print(keep);
	for (int i = 1; i < argc; i++)
		for (int number = 0; judge(argv[i], number); number++)
			;
	return 0;
}
