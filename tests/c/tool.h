// SPDX-License-Identifier: MIT
// What the tools of the tests share: attaching by path, and an end after a time.
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static inline unsigned long long now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (unsigned long long)time.tv_sec * 1000000000ULL + (unsigned long long)time.tv_nsec;
}

static void must(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

// Attaches to a function of an executable; the cookie is kept with the link.
static inline struct bpf_link *attach(struct bpf_program *program, int returns, int pid, const char *path,
			       const char *function, unsigned long long cookie)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = function, .retprobe = returns,
		    .bpf_cookie = cookie);
	struct bpf_link *link = bpf_program__attach_uprobe_opts(program, pid, path, 0, &options);

	must(link != NULL, function);
	return link;
}

static inline void attached(void)
{
	printf("attached\n");
	fflush(stdout);
}
