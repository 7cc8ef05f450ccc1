/* loops.c - the loops that bench/run.py measures, one a word on the command line.
 *
 * loops pair N           malloc(64) and free, N times
 * loops calloc N         calloc(1, 64) and free
 * loops set BLOCKS MEAN OPS THREADS    replace random blocks of a working set
 * loops deep FRAMES N SIZE    at the end of FRAMES frames, malloc(SIZE) and free, N times; prints `ns_each`
 * loops fork N           fork, child ends at once, wait; prints `cpu_ns`, the children's included
 * loops spawn N PROGRAM  start PROGRAM N times and wait; prints `cpu_ns`, of the children alone
 * loops idle             waits for the end of stdin
 *
 * Runs in: a measured program. Nothing but the loop allocates meanwhile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pair(long n)
{
	for (long i = 0; i < n; i++) {
		void *p = malloc(64);
		KEEP(p);
		free(p);
	}
}

static void calloc_pair(long n)
{
	for (long i = 0; i < n; i++) {
		void *p = calloc(1, 64);
		KEEP(p);
		free(p);
	}
}

static size_t set_blocks, set_mean;
static long set_ops;

/* Sizes are uniform with the given mean; the generator is the same at each run. */
static void *working_set(void *arg)
{
	uint64_t x = 88172645463325252u + (uintptr_t)arg;
	void **blocks = malloc(set_blocks * sizeof *blocks);
	if (!blocks)
		abort();
	memset(blocks, 0, set_blocks * sizeof *blocks);
	for (long i = 0; i < set_ops; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		size_t at = i < (long)set_blocks ? (size_t)i : (x >> 20) % set_blocks;
		free(blocks[at]);
		blocks[at] = malloc(16 + (x >> 40) % (2 * set_mean - 31));
	}
	for (size_t i = 0; i < set_blocks; i++)
		free(blocks[i]);
	free(blocks);
	return NULL;
}

static void sets(int threads)
{
	pthread_t t[64];
	if (threads == 1) {
		working_set(NULL);
		return;
	}
	for (int i = 0; i < threads && i < 64; i++)
		pthread_create(&t[i], NULL, working_set, (void *)(uintptr_t)(i * 7919));
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(t[i], NULL);
}

NOINLINE static long descend(long frames, long n, size_t size)
{
	if (frames > 1) {
		long r = descend(frames - 1, n, size) + 1;
		KEEP(r);
		return r;
	}
	for (long i = 0; i < n; i++) {
		void *p = malloc(size);
		KEEP(p);
		free(p);
	}
	return 0;
}

static void deep(long frames, long n, size_t size)
{
	KEEP(descend(frames, n / 10, size)); /* caches warm */
	uint64_t best = UINT64_MAX;
	for (int round = 0; round < 5; round++) {
		uint64_t from = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		KEEP(descend(frames, n, size));
		uint64_t took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - from;
		if (took < best)
			best = took;
	}
	printf("ns_each %.2f\n", (double)best / (double)n);
}

static double rusage_ns(int who)
{
	struct rusage r;
	getrusage(who, &r);
	return ((double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec) * 1e9 +
	       ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec) * 1e3;
}

static void forks(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		int status;
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			abort();
	}
	printf("cpu_ns %.0f\n", rusage_ns(RUSAGE_SELF) + rusage_ns(RUSAGE_CHILDREN));
}

extern char **environ;

static void spawns(long n, char *program)
{
	char *argv[] = {program, NULL};
	for (long i = 0; i < n; i++) {
		pid_t pid;
		int status;
		if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
			abort();
	}
	printf("cpu_ns %.0f\n", rusage_ns(RUSAGE_CHILDREN));
}

static long number(int argc, char **argv, int i)
{
	return i < argc ? atol(argv[i]) : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "pair") == 0) {
		pair(number(argc, argv, 2));
	} else if (strcmp(what, "calloc") == 0) {
		calloc_pair(number(argc, argv, 2));
	} else if (strcmp(what, "set") == 0) {
		set_blocks = (size_t)number(argc, argv, 2);
		set_mean = (size_t)number(argc, argv, 3);
		set_ops = number(argc, argv, 4);
		sets((int)number(argc, argv, 5));
	} else if (strcmp(what, "deep") == 0) {
		deep(number(argc, argv, 2), number(argc, argv, 3), (size_t)number(argc, argv, 4));
	} else if (strcmp(what, "fork") == 0) {
		forks(number(argc, argv, 2));
	} else if (strcmp(what, "spawn") == 0 && argc > 3) {
		spawns(number(argc, argv, 2), argv[3]);
	} else if (strcmp(what, "idle") == 0) {
		char c;
		puts("ready");
		fflush(stdout);
		while (read(0, &c, 1) > 0)
			;
	} else {
		fprintf(stderr, "loops: not known: '%s'\n", what);
		return 2;
	}
	return 0;
}
