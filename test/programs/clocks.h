/* clocks.h - what the programs that burn or wait share: clocks, bursts of CPU, and what the kernel says of a thread.
 *
 * Runs in: test programs, signal handlers included. Uses no call of the table of waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CLOCKS_H
#define CLOCKS_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND 1000000000LL

__attribute__((unused)) static int64_t now_ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

__attribute__((unused)) static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ns / SECOND, ns % SECOND};
}

/* Inlined, so that the CPU time is the calling function's own. */
__attribute__((always_inline, unused)) static inline void spin(long steps)
{
	for (long i = 0; i < steps; i++)
		__asm__ volatile("");
}

/* Steps of spin() for about so much CPU time. A thread that is to be sampled at the kernel's ticks reads no CPU clock
 * while it spins: at such a reading the kernel sees that the thread's slice is over, and on a busy machine gives the
 * processor to another, again and again before the tick that would have found it here. The first call measures. */
__attribute__((noinline, noclone, unused)) static long steps_of(int64_t ns)
{
	static long steps_in_ms; /* atomic */
	long n = __atomic_load_n(&steps_in_ms, __ATOMIC_RELAXED);
	if (n == 0) {
		enum { STEPS = 1000000, TURNS = 8 };
		int64_t least = INT64_MAX;
		for (int turn = 0; turn < TURNS; turn++) {
			int64_t from = now_ns(CLOCK_THREAD_CPUTIME_ID);
			spin(STEPS);
			int64_t took = now_ns(CLOCK_THREAD_CPUTIME_ID) - from;
			least = took < least ? took : least;
		}
		n = (long)(STEPS * MS / (least + 1));
		__atomic_store_n(&steps_in_ms, n, __ATOMIC_RELAXED);
	}
	return (long)(ns * n / MS);
}

/* Burn so much of this thread's CPU time; returns how much it was. */
__attribute__((always_inline, unused)) static inline int64_t burn_here(int64_t ns)
{
	int64_t from = now_ns(CLOCK_THREAD_CPUTIME_ID), t = from;
	while (t - from < ns) {
		spin(20000);
		t = now_ns(CLOCK_THREAD_CPUTIME_ID);
	}
	return t - from;
}

__attribute__((unused)) static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x >> 16;
}

__attribute__((unused)) static int own_tid(void)
{
	return (int)syscall(SYS_gettid);
}

/* The state letter of a thread of this process; 0 if there is no such thread. */
__attribute__((unused)) static char state_of(int tid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	const char *end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

/* Asleep in the kernel, seen three times with a millisecond between. */
__attribute__((unused)) static int is_asleep(int tid)
{
	struct timespec t = {0, MS};
	for (int i = 0; i < 3; i++) {
		if (state_of(tid) != 'S')
			return 0;
		syscall(SYS_nanosleep, &t, NULL);
	}
	return 1;
}

/* Wait until it is so, however long a busy machine takes. */
__attribute__((unused)) static void until_asleep(int tid)
{
	while (!is_asleep(tid))
		;
}

#endif
