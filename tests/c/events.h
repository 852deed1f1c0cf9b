// SPDX-License-Identifier: MIT
#pragma once

struct event {
	unsigned long long ktime;
	unsigned long long pid_tgid;
	unsigned long long uid_gid;
	unsigned long long thread;
	unsigned long long number;
	char comm[16];
	char text[40];
	char nothing[8];
	int length;
	int bad_read;
};
