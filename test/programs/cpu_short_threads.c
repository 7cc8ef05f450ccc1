/* cpu_short_threads.c - threads that live for about 5 ms of CPU time each: one after another, and two at once.
 *
 * cpu_short_threads [MICROSECONDS]      of CPU time a thread (default 5000)
 * Runs in: a test program. At each line on stdin: `short_alone NS`, `short_paired NS`: what the threads that have
 * ended took by their own CPU clocks, `threads N` how many they were, `wall NS`, `mark K`. Ends with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

static atomic_llong alone, paired;
static atomic_long threads;
static int64_t each_ns = 5 * MS;

static void ended(atomic_llong *of)
{
	atomic_fetch_add(of, now_ns(CLOCK_THREAD_CPUTIME_ID));
	atomic_fetch_add(&threads, 1);
}

/* The clock counts from the thread's birth: what it was before the first line here is told, too. */
SITE static void *short_alone(void *arg)
{
	spin(steps_of(each_ns));
	ended(&alone);
	return arg;
}

SITE static void *short_paired(void *arg)
{
	spin(steps_of(each_ns));
	ended(&paired);
	return arg;
}

static void *one_after_another(void *arg)
{
	for (;;) {
		pthread_t t;
		if (pthread_create(&t, NULL, short_alone, arg) == 0)
			pthread_join(t, NULL);
	}
	return arg;
}

static void *two_at_once(void *arg)
{
	for (;;) {
		pthread_t t[2];
		int made = 0;
		for (int i = 0; i < 2; i++)
			made += pthread_create(&t[made], NULL, short_paired, arg) == 0;
		while (made > 0)
			pthread_join(t[--made], NULL);
	}
	return arg;
}

int main(int argc, char **argv)
{
	char line[64];
	pthread_t t;
	if (argc > 1)
		each_ns = atol(argv[1]) * 1000;
	steps_of(0);
	pthread_create(&t, NULL, one_after_another, NULL);
	pthread_create(&t, NULL, two_at_once, NULL);
	puts("ready 1");
	fflush(stdout);
	for (int mark = 1; fgets(line, sizeof line, stdin); mark++) {
		printf("short_alone %lld\nshort_paired %lld\nthreads %ld\nwall %lld\nmark %d\n", (long long)alone,
		       (long long)paired, (long)threads, (long long)now_ns(CLOCK_MONOTONIC), mark);
		fflush(stdout);
	}
	_exit(0);
}
