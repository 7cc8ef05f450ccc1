/* contention_truth.c - waits of known length for every kind of lock, at known sites.
 *
 * contention_truth [ROUNDS [HOLD_US]]      (20 rounds, 10000 us)
 * Runs in: a test program. In each round somebody holds the lock until all others wait for it, and for HOLD_US more.
 * Truth: see contention.h; `total_mutex_waits COUNT NS` are those in locks that a holder lets go. Then `ready`; ends
 * with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <threads.h>

#include "contention.h"

static struct timespec in_a_minute(clockid_t clock)
{
	return timespec_of(now_ns(clock) + 60 * SECOND);
}

/* ---- locks that are held: three wait, and each holds it as long in its turn ---- */

#define EXCLUSIVE(kind, lock_call, lock_name, unlock_call, unlock_name) \
	static struct tally kind##_waits = {"block", "wait_in_" #kind, lock_name, 0, 0, 0, 0, NULL}; \
	static struct tally kind##_held = {"mutex", "let_go_" #kind, unlock_name, 0, 0, 0, 0, NULL}; \
	static struct tally kind##_passed = {"mutex", "pass_on_" #kind, unlock_name, 0, 0, 0, 0, NULL}; \
	__attribute__((unused)) SITE static void hold_##kind(struct race *r) \
	{ \
		must(lock_call); \
		KEEP(r); \
	} \
	SITE static void let_go_##kind(struct race *r) \
	{ \
		queue_charge(&r->queue, &kind##_held); \
		must(unlock_call); \
		KEEP(r); \
	} \
	SITE static void pass_on_##kind(struct race *r) \
	{ \
		queue_charge(&r->queue, &kind##_passed); \
		must(unlock_call); \
		KEEP(r); \
	} \
	SITE static void wait_in_##kind(struct race *r, int i) \
	{ \
		int64_t t = queue_enter(&r->queue, i); \
		must(lock_call); \
		queue_leave(&r->queue, i, t, &kind##_waits); \
	}
#define LOCKED(kind, waiters) \
	{ \
#kind, hold_##kind, let_go_##kind, wait_in_##kind, pass_on_##kind, waiters, 0, 1 \
	}

static pthread_mutex_t normal = PTHREAD_MUTEX_INITIALIZER, recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
		       errorcheck = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
		       adaptive = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP, robust, inherit, shared;
static mtx_t plain_mtx;
static pthread_rwlock_t written = PTHREAD_RWLOCK_INITIALIZER;

static int timed_lock(void)
{
	struct timespec t = in_a_minute(CLOCK_REALTIME);
	return pthread_mutex_timedlock(&errorcheck, &t);
}
static int clock_lock(void)
{
	struct timespec t = in_a_minute(CLOCK_MONOTONIC);
	return pthread_mutex_clocklock(&shared, CLOCK_MONOTONIC, &t);
}
static int timed_write(void)
{
	struct timespec t = in_a_minute(CLOCK_REALTIME);
	return pthread_rwlock_timedwrlock(&written, &t);
}

EXCLUSIVE(normal, pthread_mutex_lock(&normal), "pthread_mutex_lock", pthread_mutex_unlock(&normal),
          "pthread_mutex_unlock")
EXCLUSIVE(recursive, pthread_mutex_lock(&recursive), "pthread_mutex_lock", pthread_mutex_unlock(&recursive),
          "pthread_mutex_unlock")
EXCLUSIVE(adaptive, pthread_mutex_lock(&adaptive), "pthread_mutex_lock", pthread_mutex_unlock(&adaptive),
          "pthread_mutex_unlock")
EXCLUSIVE(robust, pthread_mutex_lock(&robust), "pthread_mutex_lock", pthread_mutex_unlock(&robust),
          "pthread_mutex_unlock")
EXCLUSIVE(inherit, pthread_mutex_lock(&inherit), "pthread_mutex_lock", pthread_mutex_unlock(&inherit),
          "pthread_mutex_unlock")
EXCLUSIVE(timed, timed_lock(), "pthread_mutex_timedlock", pthread_mutex_unlock(&errorcheck), "pthread_mutex_unlock")
EXCLUSIVE(clocked, clock_lock(), "pthread_mutex_clocklock", pthread_mutex_unlock(&shared), "pthread_mutex_unlock")
EXCLUSIVE(mtx, mtx_lock(&plain_mtx), "mtx_lock", (mtx_unlock(&plain_mtx), 0), "mtx_unlock")
EXCLUSIVE(writers, timed_write(), "pthread_rwlock_timedwrlock", pthread_rwlock_unlock(&written),
          "pthread_rwlock_unlock")

/* A recursive lock is let go by its last unlock alone. */
static void hold_recursive_twice(struct race *r)
{
	hold_recursive(r);
	hold_recursive(r);
	must(pthread_mutex_unlock(&recursive));
}

/* ---- readers and a writer ---- */

static pthread_rwlock_t read_by_many = PTHREAD_RWLOCK_INITIALIZER, written_alone = PTHREAD_RWLOCK_INITIALIZER;

EXCLUSIVE(readers, pthread_rwlock_rdlock(&read_by_many), "pthread_rwlock_rdlock", pthread_rwlock_unlock(&read_by_many),
          "pthread_rwlock_unlock")
SITE static void hold_for_readers(struct race *r)
{
	must(pthread_rwlock_wrlock(&read_by_many));
	KEEP(r);
}

/* Held by two readers: the first one's unlock lets nobody in, and is charged with nothing. */
EXCLUSIVE(writer, pthread_rwlock_wrlock(&written_alone), "pthread_rwlock_wrlock", pthread_rwlock_unlock(&written_alone),
          "pthread_rwlock_unlock")
SITE static void hold_as_reader(struct race *r)
{
	must(pthread_rwlock_rdlock(&written_alone));
	must(pthread_rwlock_rdlock(&written_alone));
	KEEP(r);
}
SITE static void first_reader_leaves(struct race *r)
{
	must(pthread_rwlock_unlock(&written_alone));
	KEEP(r);
}
static void let_go_as_readers(struct race *r)
{
	first_reader_leaves(r);
	nap(r->hold_ns);
	let_go_writer(r);
}

/* ---- what nobody holds ---- */

#define WAIT(kind, name) \
	static struct tally kind##_waits = {"block", "wait_in_" #kind, name, 0, 0, 0, 0, NULL}; \
	SITE static void wait_in_##kind(struct race *r, int i)
#define WAITED(kind, let_go, waiters, burns) \
	{ \
#kind, NULL, let_go, wait_in_##kind, NULL, waiters, burns, 0 \
	}

static pthread_mutex_t cond_mutex = PTHREAD_MUTEX_INITIALIZER, timed_mutex = PTHREAD_MUTEX_INITIALIZER,
		       given_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, never = PTHREAD_COND_INITIALIZER,
		      given = PTHREAD_COND_INITIALIZER;
static int produced;

/* A producer and its consumer. */
WAIT(cond, "pthread_cond_wait")
{
	must(pthread_mutex_lock(&cond_mutex));
	while (produced == 0) {
		int64_t t = queue_enter(NULL, i);
		must(pthread_cond_wait(&cond, &cond_mutex));
		queue_leave(NULL, i, t, &cond_waits);
	}
	produced--;
	must(pthread_mutex_unlock(&cond_mutex));
	KEEP(r);
}
static void produce(struct race *r)
{
	must(pthread_mutex_lock(&cond_mutex));
	produced++;
	must(pthread_cond_signal(&cond));
	must(pthread_mutex_unlock(&cond_mutex));
	KEEP(r);
}

/* Nobody comes. */
WAIT(timedwait, "pthread_cond_timedwait")
{
	struct timespec until = timespec_of(now_ns(CLOCK_REALTIME) + r->hold_ns);
	int result = 0;
	must(pthread_mutex_lock(&timed_mutex));
	while (result == 0) {
		int64_t t = queue_enter(NULL, i);
		result = pthread_cond_timedwait(&never, &timed_mutex, &until);
		queue_leave(NULL, i, t, &timedwait_waits);
	}
	must(result != ETIMEDOUT);
	must(pthread_mutex_unlock(&timed_mutex));
}

/* A mutex that is let go by pthread_cond_wait: the holder waits until the one who waited for it has had it. */
static int given_round;
WAIT(given, "pthread_mutex_lock")
{
	int64_t t = queue_enter(&r->queue, i);
	must(pthread_mutex_lock(&given_mutex));
	queue_leave(&r->queue, i, t, &given_waits);
	given_round = r->round;
	must(pthread_cond_signal(&given));
	nap(r->hold_ns);
	must(pthread_mutex_unlock(&given_mutex));
}
static struct tally given_held = {"mutex", "let_go_by_waiting", "pthread_cond_wait", 0, 0, 0, 0, NULL};
static struct tally taken_waits = {"block", "let_go_by_waiting", "pthread_cond_wait", 0, 0, 0, 0, NULL};
SITE static void hold_given(struct race *r)
{
	must(pthread_mutex_lock(&given_mutex));
	KEEP(r);
}
SITE static void let_go_by_waiting(struct race *r)
{
	while (given_round != r->round) {
		queue_charge(&r->queue, &given_held);
		int64_t t = queue_enter(NULL, 0);
		must(pthread_cond_wait(&given, &given_mutex));
		queue_leave(NULL, 0, t, &taken_waits);
	}
	must(pthread_mutex_unlock(&given_mutex));
}

static sem_t sem, timed_sem;
WAIT(sem, "sem_wait")
{
	int64_t t = queue_enter(NULL, i);
	must(sem_wait(&sem));
	queue_leave(NULL, i, t, &sem_waits);
	KEEP(r);
}
static void post_twice(struct race *r)
{
	sem_post(&sem);
	sem_post(&sem);
	KEEP(r);
}

WAIT(timed_sem, "sem_timedwait")
{
	struct timespec until = in_a_minute(CLOCK_REALTIME);
	int64_t t = queue_enter(NULL, i);
	must(sem_timedwait(&timed_sem, &until));
	queue_leave(NULL, i, t, &timed_sem_waits);
	KEEP(r);
}
static void post_timed(struct race *r)
{
	sem_post(&timed_sem);
	KEEP(r);
}

static void *live_for_a_while(void *arg)
{
	nap(((struct race *)arg)->hold_ns);
	return arg;
}
WAIT(join, "pthread_join")
{
	pthread_t thread;
	must(pthread_create(&thread, NULL, live_for_a_while, r));
	int64_t t = queue_enter(NULL, i);
	must(pthread_join(thread, NULL));
	queue_leave(NULL, i, t, &join_waits);
}

static pthread_barrier_t barrier;
WAIT(barrier, "pthread_barrier_wait")
{
	int64_t t = queue_enter(NULL, i);
	pthread_barrier_wait(&barrier);
	queue_leave(NULL, i, t, &barrier_waits);
	KEEP(r);
}
static void come_last(struct race *r)
{
	pthread_barrier_wait(&barrier);
	KEEP(r);
}

static uint32_t word;
WAIT(futex, "syscall")
{
	while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) != (uint32_t)r->round) {
		int64_t t = queue_enter(NULL, i);
		long result = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, r->round - 1, NULL, NULL, 0);
		if (result == 0 || errno != EAGAIN)
			queue_leave(NULL, i, t, &futex_waits);
	}
}
static void wake(struct race *r)
{
	__atomic_store_n(&word, (uint32_t)r->round, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static uint32_t bits_word;
WAIT(futex_bitset, "syscall")
{
	while (__atomic_load_n(&bits_word, __ATOMIC_SEQ_CST) != (uint32_t)r->round) {
		struct timespec until = in_a_minute(CLOCK_MONOTONIC);
		int64_t t = queue_enter(NULL, i);
		long result =
			syscall(SYS_futex, &bits_word, FUTEX_WAIT_BITSET_PRIVATE, r->round - 1, &until, NULL, ~0u);
		if (result == 0 || errno != EAGAIN)
			queue_leave(NULL, i, t, &futex_bitset_waits);
	}
}
static void wake_bits(struct race *r)
{
	__atomic_store_n(&bits_word, (uint32_t)r->round, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &bits_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static pthread_spinlock_t spin_lock;
static struct tally spin_waits = {"block", "wait_in_spin", "pthread_spin_lock", 0, 0, 0, 0, NULL};
SITE static void wait_in_spin(struct race *r, int i)
{
	int64_t t = queue_enter(NULL, i);
	must(pthread_spin_lock(&spin_lock));
	queue_leave(NULL, i, t, &spin_waits);
	must(pthread_spin_unlock(&spin_lock));
	KEEP(r);
}
static void hold_spin(struct race *r)
{
	must(pthread_spin_lock(&spin_lock));
	KEEP(r);
}
static void let_go_spin(struct race *r)
{
	must(pthread_spin_unlock(&spin_lock));
	KEEP(r);
}

static struct race races[] = {
	LOCKED(normal, 3),
	LOCKED(recursive, 2),
	LOCKED(adaptive, 1),
	LOCKED(robust, 2),
	LOCKED(inherit, 2),
	LOCKED(timed, 2),
	LOCKED(clocked, 1),
	LOCKED(mtx, 2),
	LOCKED(writers, 2),
	{"readers", hold_for_readers, let_go_readers, wait_in_readers, pass_on_readers, 3, 0, 1},
	{"writer", hold_as_reader, let_go_as_readers, wait_in_writer, pass_on_writer, 1, 0, 0},
	WAITED(cond, produce, 1, 0),
	WAITED(timedwait, NULL, 1, 1),
	WAITED(sem, post_twice, 2, 0),
	WAITED(timed_sem, post_timed, 1, 0),
	WAITED(join, NULL, 1, 1),
	WAITED(barrier, come_last, 2, 0),
	WAITED(futex, wake, 1, 0),
	WAITED(futex_bitset, wake_bits, 1, 0),
	{"given", hold_given, let_go_by_waiting, wait_in_given, NULL, 1, 0, 0},
};
static struct race spinning = {"spin", hold_spin, let_go_spin, wait_in_spin, NULL, 1, 1, 0};

static void set_up(void)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	must(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
	must(pthread_mutex_init(&robust, &a));
	pthread_mutexattr_init(&a);
	must(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
	must(pthread_mutex_init(&inherit, &a));
	pthread_mutexattr_init(&a);
	must(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED));
	must(pthread_mutex_init(&shared, &a));
	must(mtx_init(&plain_mtx, mtx_plain));
	must(sem_init(&sem, 0, 0));
	must(sem_init(&timed_sem, 0, 0));
	must(pthread_barrier_init(&barrier, NULL, 3));
	must(pthread_spin_init(&spin_lock, PTHREAD_PROCESS_PRIVATE));
	races[1].hold = hold_recursive_twice;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20;
	int64_t hold_ns = (argc > 2 ? atoll(argv[2]) : 10000) * 1000;
	tallies_begin();
	set_up();
	races_run(races, sizeof races / sizeof *races, rounds, hold_ns);
	races_run(&spinning, 1, rounds / 4 + 1, hold_ns);
	tallies_print();
	long long count = 0, ns = 0;
	for (struct tally *t = tallies; t; t = t->next)
		if (t->side[0] == 'b' &&
		    (strstr(t->call, "mutex") || strstr(t->call, "rwlock") || strstr(t->call, "mtx"))) {
			count += t->count;
			ns += t->ns;
		}
	printf("total_mutex_waits %lld %lld\n", count, ns);
	ready_and_wait();
	return 0;
}
