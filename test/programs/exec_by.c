/* exec_by.c - another program takes over while a CPU profile is taken with SIGPROF.
 *
 * exec_by HOW             HOW: execve, execveat, syscall, syscall_at
 * Runs in: a test program, with a limit of pending signals of 0. It burns CPU until it is told by a line; fails to
 * become a program that is not there; burns until the next line, and becomes itself as `exec_by alive`, without an
 * environment: that burns CPU for 300 ms and prints `alive 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

static atomic_int lines;

static void *read_lines(void *arg)
{
	char c;
	while (read(0, &c, 1) > 0)
		if (c == '\n')
			atomic_fetch_add(&lines, 1);
	return arg;
}

static void burn_until_line(int n)
{
	while (atomic_load(&lines) < n)
		spin(1000000);
}

static void become(const char *how, const char *path)
{
	char *argv[] = {"exec_by", "alive", NULL}, *envp[] = {NULL};
	if (strcmp(how, "execve") == 0)
		execve(path, argv, envp);
	else if (strcmp(how, "execveat") == 0)
		execveat(AT_FDCWD, path, argv, envp, 0);
	else if (strcmp(how, "syscall") == 0)
		syscall(SYS_execve, path, argv, envp);
	else
		syscall(SYS_execveat, AT_FDCWD, path, argv, envp, 0);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t reader;
	if (strcmp(how, "alive") == 0) {
		int64_t until = now_ns(CLOCK_PROCESS_CPUTIME_ID) + 300 * MS;
		while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
			spin(100000);
		puts("alive 1");
		return 0;
	}
	pthread_create(&reader, NULL, read_lines, NULL);
	puts("ready 1");
	fflush(stdout);
	burn_until_line(1);
	become(how, "/nothing/is/here");
	puts("failed 1");
	fflush(stdout);
	burn_until_line(2);
	become(how, "/proc/self/exe");
	return 9;
}
