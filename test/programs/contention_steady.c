/* contention_steady.c - contention that goes on and on: the truth of any stretch of time is the difference of two
 * marks.
 *
 * contention_steady
 * Runs in: a test program. Four threads take turns at a mutex that each keeps for 0.3 to 3 ms; 24 more wait as long
 * each in pthread_cond_timedwait, for nobody; a writer and two readers share a lock. At each line on stdin it tells the
 * truth so far (see contention.h), `wall NS` and `mark K`; the line `quiet` makes all of them pause until a line that
 * is not, `end` ends it. Ends with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "contention.h"

enum { TAKERS = 4, SLEEPERS = 24, READERS = 2 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static struct queue queue, rw_queue;
static int quiet, at_rest, readers;

static struct tally taken = {"block", "wait_in_steady_mutex", "pthread_mutex_lock", 0, 0, 0, 0, NULL},
		    held = {"mutex", "let_go_steady_mutex", "pthread_mutex_unlock", 0, 0, 0, 0, NULL},
		    slept = {"block", "wait_in_steady_cond", "pthread_cond_timedwait", 0, 0, 0, 0, NULL},
		    read_waits = {"block", "wait_in_steady_read", "pthread_rwlock_rdlock", 0, 0, 0, 0, NULL},
		    write_waits = {"block", "wait_in_steady_write", "pthread_rwlock_wrlock", 0, 0, 0, 0, NULL},
		    read_held = {"mutex", "let_go_steady_read", "pthread_rwlock_unlock", 0, 0, 0, 0, NULL},
		    write_held = {"mutex", "let_go_steady_write", "pthread_rwlock_unlock", 0, 0, 0, 0, NULL};

SITE static void wait_in_steady_mutex(int i)
{
	int64_t t = queue_enter(&queue, i);
	must(pthread_mutex_lock(&mutex));
	queue_leave(&queue, i, t, &taken);
}
SITE static void let_go_steady_mutex(void)
{
	queue_charge(&queue, &held);
	must(pthread_mutex_unlock(&mutex));
	KEEP(&mutex);
}
SITE static void wait_in_steady_read(int i)
{
	int64_t t = queue_enter(&rw_queue, i);
	must(pthread_rwlock_rdlock(&rwlock));
	__atomic_fetch_add(&readers, 1, __ATOMIC_SEQ_CST);
	queue_leave(&rw_queue, i, t, &read_waits);
}
SITE static void wait_in_steady_write(int i)
{
	int64_t t = queue_enter(&rw_queue, i);
	must(pthread_rwlock_wrlock(&rwlock));
	queue_leave(&rw_queue, i, t, &write_waits);
}
/* The last reader lets the writer in. */
SITE static void let_go_steady_read(void)
{
	if (__atomic_sub_fetch(&readers, 1, __ATOMIC_SEQ_CST) == 0)
		queue_charge(&rw_queue, &read_held);
	must(pthread_rwlock_unlock(&rwlock));
	KEEP(&rwlock);
}
SITE static void let_go_steady_write(void)
{
	queue_charge(&rw_queue, &write_held);
	must(pthread_rwlock_unlock(&rwlock));
	KEEP(&rwlock);
}

static void rest_if_quiet(void)
{
	if (!__atomic_load_n(&quiet, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&at_rest, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&quiet, __ATOMIC_SEQ_CST))
		nap(MS);
	__atomic_fetch_add(&at_rest, -1, __ATOMIC_SEQ_CST);
}

static int64_t random_time(uint64_t *random)
{
	return 300000 + (int64_t)(next_random(random) % 2700000);
}

static void *take(void *arg)
{
	int i = (int)(long)arg;
	uint64_t random = 88172645463325252u + (uint64_t)i;
	pthread_setname_np(pthread_self(), "taker");
	for (;;) {
		rest_if_quiet();
		wait_in_steady_mutex(i);
		nap(random_time(&random));
		let_go_steady_mutex();
		nap(100000);
	}
	return arg;
}

SITE static void wait_in_steady_cond(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	int64_t t = queue_enter(NULL, 0);
	pthread_cond_timedwait(c, m, until);
	queue_leave(NULL, 0, t, &slept);
}

static void *sleep_long(void *arg)
{
	pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	uint64_t random = 78172645463325252u + (uint64_t)(long)arg;
	pthread_setname_np(pthread_self(), "sleeper");
	must(pthread_mutex_lock(&own));
	for (;;) {
		rest_if_quiet();
		struct timespec until = timespec_of(now_ns(CLOCK_REALTIME) + random_time(&random));
		wait_in_steady_cond(&never, &own, &until);
	}
	return arg;
}

static void *read_and_write(void *arg)
{
	int i = (int)(long)arg;
	uint64_t random = 68172645463325252u + (uint64_t)i;
	pthread_setname_np(pthread_self(), i ? "reader" : "writer");
	for (;;) {
		rest_if_quiet();
		i ? wait_in_steady_read(i) : wait_in_steady_write(i);
		nap(random_time(&random));
		i ? let_go_steady_read() : let_go_steady_write();
		nap(i ? 200000 : 2 * MS);
	}
	return arg;
}

static void tell(int mark)
{
	tallies_print();
	printf("wall %lld\nmark %d\n", (long long)now_ns(CLOCK_MONOTONIC), mark);
	fflush(stdout);
}

int main(void)
{
	pthread_t t;
	char line[64];
	tallies_begin();
	for (long i = 0; i < TAKERS; i++)
		must(pthread_create(&t, NULL, take, (void *)i));
	for (long i = 0; i < SLEEPERS; i++)
		must(pthread_create(&t, NULL, sleep_long, (void *)i));
	for (long i = 0; i < READERS + 1; i++)
		must(pthread_create(&t, NULL, read_and_write, (void *)i));
	puts("ready 1");
	fflush(stdout);
	for (int mark = 1; fgets(line, sizeof line, stdin) && strcmp(line, "end\n") != 0; mark++) {
		int be_quiet = strcmp(line, "quiet\n") == 0;
		__atomic_store_n(&quiet, be_quiet, __ATOMIC_SEQ_CST);
		while (be_quiet && __atomic_load_n(&at_rest, __ATOMIC_SEQ_CST) < TAKERS + SLEEPERS + READERS + 1)
			nap(MS);
		tell(mark);
	}
	fflush(stdout);
	_exit(0);
}
