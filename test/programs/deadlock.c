/* deadlock.c - three named threads that wait for each other's locks, for good; and waits that only look so.
 *
 * deadlock mutex|rwlock|self|mixed|timed|slow
 *   mutex, rwlock, mixed   a ring of three: ring-a holds the first lock and waits for the second, which ring-b holds
 * ... self                   a thread that locks a mutex that it holds timed                  a ring by
 * pthread_mutex_timedlock: it ends by itself, so it is no deadlock slow                   a chain that ends at a thread
 * which sleeps with the lock Runs in: a test program. Truth: `thread TID NAME` in the order of the chain; `ready` when
 * all of them sleep; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

enum { RING = 3 };
static const char *kind;
static pthread_mutex_t mutexes[RING];
static pthread_rwlock_t rwlocks[RING];
static pthread_barrier_t all_hold;
static atomic_int tids[RING];
static const char *const names[RING] = {"ring-a", "ring-b", "ring-c"};

static int is(const char *what)
{
	return strcmp(kind, what) == 0;
}

/* In a mixed ring the second lock is a rwlock. */
static int uses_rwlock(int lock)
{
	return is("rwlock") || (is("mixed") && lock == 1);
}

SITE static void take_own_lock(int i)
{
	if (uses_rwlock(i))
		pthread_rwlock_wrlock(&rwlocks[i]);
	else
		pthread_mutex_lock(&mutexes[i]);
	KEEP(&mutexes[i]);
}

SITE static void wait_for_next_lock(int i)
{
	int next = (i + 1) % RING;
	if (is("timed")) {
		struct timespec t = timespec_of(now_ns(CLOCK_REALTIME) + 600 * SECOND);
		pthread_mutex_timedlock(&mutexes[next], &t);
	} else if (uses_rwlock(next)) {
		i == 2 ? pthread_rwlock_rdlock(&rwlocks[next]) : pthread_rwlock_wrlock(&rwlocks[next]);
	} else {
		pthread_mutex_lock(&mutexes[next]);
	}
	KEEP(&mutexes[next]);
}

static void *stand_in_ring(void *arg)
{
	int i = (int)(intptr_t)arg;
	pthread_setname_np(pthread_self(), names[i]);
	take_own_lock(i);
	pthread_barrier_wait(&all_hold);
	atomic_store(&tids[i], own_tid());
	if (is("slow") && i == RING - 1)
		for (;;)
			sleep(1000);
	wait_for_next_lock(is("self") ? i - 1 + RING : i);
	return NULL;
}

int main(int argc, char **argv)
{
	int count = RING;
	kind = argc > 1 ? argv[1] : "mutex";
	if (is("self"))
		count = 1;
	pthread_barrier_init(&all_hold, NULL, (unsigned)count);
	for (int i = 0; i < RING; i++) {
		pthread_mutex_init(&mutexes[i], NULL);
		pthread_rwlock_init(&rwlocks[i], NULL);
	}
	for (int i = 0; i < count; i++) {
		pthread_t t;
		pthread_create(&t, NULL, stand_in_ring, (void *)(intptr_t)i);
	}
	for (int i = 0; i < count; i++) {
		while (!atomic_load(&tids[i]))
			syscall(SYS_sched_yield);
		until_asleep(atomic_load(&tids[i]));
		printf("thread %d %s\n", atomic_load(&tids[i]), names[i]);
	}
	ready_and_wait();
	_exit(0);
}
