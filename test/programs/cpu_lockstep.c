/* cpu_lockstep.c - threads whose work repeats after a fixed CPU time: 70, 20 and 10 % of a cycle in three functions.
 *
 * cpu_lockstep CYCLE_MS...      a thread for each, named lock_CYCLE
 * Runs in: a test program. Each part ends at a fixed place of its thread's own CPU clock, so that cycles keep step with
 * that clock however long the program runs: as in games and in servers that work by frames.
 * At each line on stdin it tells the truth so far: `lock_seventy NS`, `lock_twenty NS`, `lock_ten NS` of CPU time in
 * finished cycles, `rusage NS` of the process, `wall NS`, and closes with `mark K`. Ends with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/resource.h>

#include "clocks.h"
#include "truth.h"

enum { FUNCTIONS = 3, STEPS_BETWEEN_LOOKS = 20000 }; /* tens of microseconds */

static atomic_llong burnt[FUNCTIONS];

#define BURN_UNTIL(of) \
	int64_t now; \
	do \
		spin(STEPS_BETWEEN_LOOKS); \
	while ((now = now_ns(CLOCK_THREAD_CPUTIME_ID)) < until); \
	atomic_fetch_add(&burnt[of], now - from); \
	return now

SITE static int64_t lock_seventy(int64_t from, int64_t until)
{
	BURN_UNTIL(0);
}
SITE static int64_t lock_twenty(int64_t from, int64_t until)
{
	BURN_UNTIL(1);
}
SITE static int64_t lock_ten(int64_t from, int64_t until)
{
	BURN_UNTIL(2);
}

static void *work(void *cycle_ms)
{
	char name[16];
	int64_t cycle = (intptr_t)cycle_ms * MS, now = now_ns(CLOCK_THREAD_CPUTIME_ID);
	snprintf(name, sizeof name, "lock_%d", (int)(intptr_t)cycle_ms);
	pthread_setname_np(pthread_self(), name);
	for (int64_t begin = now;; begin += cycle) {
		now = lock_seventy(now, begin + cycle * 70 / 100);
		now = lock_twenty(now, begin + cycle * 90 / 100);
		now = lock_ten(now, begin + cycle);
	}
	return NULL;
}

static void tell(int mark)
{
	static const char *const names[FUNCTIONS] = {"lock_seventy", "lock_twenty", "lock_ten"};
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	for (int i = 0; i < FUNCTIONS; i++)
		printf("%s %lld\n", names[i], (long long)atomic_load(&burnt[i]));
	printf("rusage %lld\nwall %lld\nmark %d\n",
	       (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * SECOND + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL,
	       (long long)now_ns(CLOCK_MONOTONIC), mark);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[64];
	for (int i = 1; i < argc; i++) {
		pthread_t t;
		pthread_create(&t, NULL, work, (void *)(intptr_t)atoi(argv[i]));
	}
	puts("ready 1");
	fflush(stdout);
	for (int mark = 1; fgets(line, sizeof line, stdin); mark++)
		tell(mark);
	_exit(0);
}
