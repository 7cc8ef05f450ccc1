/* spawn_made.h - a helper made of this program, and what it is asked.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SPAWN_MADE_H
#define PPROFSHIM_SPAWN_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/listener/spawn.h"
#include "test/unit/at_home.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"
#include "test/unit/support/descriptors.h"

#define SELF "/proc/self/exe"
#define ANY_MEMORY UINT64_MAX /* a sanitizer's shadow counts as data */

enum { MIB = 1 << 20, WAIT_MS = 30 * 1000 };

extern char **environ;

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the helper's parts ---------------------------------------------------------------------------- */

static void tell_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int others = 0;
	for (struct dirent *e; dir && (e = readdir(dir));)
		others += e->d_name[0] != '.' && atoi(e->d_name) > 1 && atoi(e->d_name) != dirfd(dir);
	struct stat in, out;
	bool pipes = fstat(0, &in) == 0 && S_ISFIFO(in.st_mode) && fstat(1, &out) == 0 && S_ISFIFO(out.st_mode);
	bool ends = (fcntl(0, F_GETFL) & O_ACCMODE) == O_RDONLY && (fcntl(1, F_GETFL) & O_ACCMODE) == O_WRONLY;
	bool waits = !((fcntl(0, F_GETFL) | fcntl(1, F_GETFL)) & O_NONBLOCK);
	dprintf(1, "pipes %d ends %d waits %d others %d\n", pipes, ends, waits, dir ? others : -1);
}

static void tell_limits(void)
{
	struct rlimit core, cpu;
	getrlimit(RLIMIT_CORE, &core);
	getrlimit(RLIMIT_CPU, &cpu);
	dprintf(1, "core %d %ld cpu %d\n", core.rlim_cur <= 1, (long)core.rlim_max,
	        cpu.rlim_cur <= 300 && cpu.rlim_max <= 300);
}

static void tell_signals(void)
{
	sigset_t mask;
	int blocked = 0, dies_with_parent = 0;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int s = 1; s < 32; s++)
		blocked += s != SIGKILL && s != SIGSTOP && sigismember(&mask, s) == 1;
	prctl(PR_GET_PDEATHSIG, &dies_with_parent);
	dprintf(1, "blocked %d death %d\n", blocked, dies_with_parent);
}

static void copy_count(void)
{
	static char buf[65536];
	unsigned long long total = 0, wrong = 0;
	for (ssize_t n; (n = read(0, buf, sizeof buf)) > 0; total += (unsigned long long)n)
		for (ssize_t i = 0; i < n; i++)
			wrong += (unsigned char)buf[i] != (unsigned char)((total + (unsigned long long)i) % 251);
	dprintf(1, "%llu %llu", total, wrong);
}

static void play(int argc, char **argv)
{
	const char *part = argv[1];
	if (strcmp(part, "world") == 0) {
		tell_descriptors();
		tell_limits();
		tell_signals();
		dprintf(1, "environment %d group %d arguments %d %s\n", environ && environ[0], getpgrp() == getpid(),
		        argc, argc > 2 ? argv[2] : "");
	} else if (strcmp(part, "nice") == 0) {
		dprintf(1, "%d", getpriority(PRIO_PROCESS, 0));
	} else if (strcmp(part, "status") == 0) {
		_exit(atoi(argv[2]));
	} else if (strcmp(part, "signal") == 0) {
		raise(SIGKILL);
	} else if (strcmp(part, "count") == 0) {
		copy_count();
	} else if (strcmp(part, "slow") == 0) {
		usleep(300 * 1000);
		copy_count();
	} else if (strcmp(part, "deaf") == 0) {
		close(0);
		dprintf(1, "deaf");
		for (;;)
			pause();
	} else if (strcmp(part, "silent") == 0) {
		for (;;)
			pause();
	}
	_exit(0);
}

/* --- starting and reading it ----------------------------------------------------------------------- */

#define START(s, memory, ...) start_it((s), (char *const[]){__VA_ARGS__, NULL}, (memory))

/* Waits until it has ended. Returns its status; negative: not known. */
static inline int end_it(struct spawned *s)
{
	int status;
	spawn_stop(s);
	while (!spawn_has_ended(s, &status))
		usleep(500);
	return status;
}

/* Waits until it runs. Returns 0, or the negative errno for which it does not. */
static inline int start_it(struct spawned *s, char *const argv[], uint64_t memory_bytes)
{
	int r = spawn(s, argv, memory_bytes);
	while (r == 0 && !spawn_has_started())
		usleep(500);
	if (r == 0 && (r = spawn_error()) < 0)
		end_it(s);
	return r;
}

static inline int write_to(struct spawned *s, const void *bytes, uint64_t count, unsigned within_ms)
{
	const char *at = bytes;
	for (uint64_t until = now_ms() + within_ms; count;) {
		long n = spawn_write(s, at, count);
		if (n < 0)
			return (int)n;
		at += n;
		count -= (uint64_t)n;
		if (!n && now_ms() >= until)
			return -ETIMEDOUT;
		if (!n)
			usleep(500);
	}
	return 0;
}

/* What it says until it closes its output; a static string. */
static const char *read_all(struct spawned *s)
{
	static char text[8192];
	size_t len = 0;
	uint64_t until = now_ms() + WAIT_MS;
	for (;;) {
		struct pollfd p = {s->from_fd, POLLIN, 0};
		ssize_t n = read(s->from_fd, text + len, sizeof text - 1 - len);
		if (n == 0 || len + 1 == sizeof text || now_ms() > until)
			break;
		if (n > 0)
			len += (size_t)n;
		else
			poll(&p, 1, 100);
	}
	text[len] = '\0';
	return text;
}

static inline void assert_nothing(const struct spawned *s)
{
	assert_int_equal(s->pid, 0);
	assert_int_equal(s->to_fd, -1);
	assert_int_equal(s->from_fd, -1);
}

static inline void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

/* As the listener is: no signal reaches this thread. */
static void block_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static int set_up(void **state)
{
	(void)state;
	block_signals();
	spawn_start();
	return 0;
}

static void child_begin(void)
{
	spawn_start();
}

static int run_all(const struct CMUnitTest *tests, size_t count)
{
#ifdef __SANITIZE_THREAD__
	/* Three processes on stacks of one memory, in turn by the kernel's word: the sanitizer takes them for threads
	 * that race. */
	printf("1..%zu\n", count);
	for (size_t n = 0; n < count; n++)
		printf("ok %zu - %s # SKIP not for this sanitizer\n", n + 1, tests[n].name);
	return set_up == NULL;
#else
	return _cmocka_run_group_tests("tests", tests, count, set_up, NULL);
#endif
}

#endif
