/* test_sync.c - the profiler's lock: it excludes, it wakes who waits, nobody waits for long, and what nobody holds
 * any more is taken over.
 *
 * Runs in: its own process, with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/sync.h"

enum { THREADS = 4, TURNS = 20000 };
#define RANK LOCK_THREADS

static struct lock lock;
static uint64_t counter; /* under lock, and not atomic: a lost update shows */

static bool take(struct lock *l)
{
	self.busy = true;
	return lock_take(l, RANK);
}

static uint32_t word_of(const struct lock *l)
{
	return shared_load_relaxed(&l->word);
}

static void test_a_free_lock_is_taken_with_the_holders_name(void **state)
{
	(void)state;
	struct lock l = {0};
	assert_true(take(&l));
	assert_int_equal(shared_own(&l.word) & ((1u << LOCK_TID_BITS) - 1), gettid());
	assert_int_equal(shared_own(&l.word) >> LOCK_TID_BITS, shared_own(&house.generation));
	assert_false(lock_is_inherited(&l));
	lock_release(&l);
	assert_int_equal(shared_own(&l.word), 0);
}

static void *count_up(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		while (!take(&lock)) /* a loaded machine may keep the holder waiting */
			sched_yield();
		counter++;
		if (i % 64 == 0) /* be preempted while holding it, so that others go to sleep */
			sched_yield();
		lock_release(&lock);
	}
	return arg;
}

static void test_no_update_is_lost_between_threads(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	counter = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count_up, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(counter, THREADS * TURNS);
	assert_int_equal(shared_own(&lock.word), 0);
}

static struct lock gate;
static int passed, refused; /* atomic */

static void *pass_gate(void *arg)
{
	if (!take(&gate)) {
		__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
		return arg;
	}
	__atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
	lock_release(&gate);
	return arg;
}

/* Each sleeper, woken, has to leave the mark for the next one. (On a machine so loaded that the holder comes late,
 * they give up, each for itself; never do they sleep on.) */
static void test_everybody_who_sleeps_is_woken_in_the_end(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	passed = refused = 0;
	assert_true(take(&gate));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, pass_gate, NULL), 0);
	for (int ms = 0; ms < 10000 && !(word_of(&gate) & LOCK_WAITED); ms++)
		usleep(1000);
	assert_true(word_of(&gate) & LOCK_WAITED);
	assert_int_equal(__atomic_load_n(&passed, __ATOMIC_RELAXED), 0);
	lock_release(&gate);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(passed + refused, THREADS);
	assert_int_equal(shared_own(&gate.word), 0);
}

static void test_who_waits_in_vain_gives_up_and_the_next_one_at_once(void **state)
{
	(void)state;
	pthread_t t;
	passed = refused = 0;
	assert_true(take(&gate));
	pthread_create(&t, NULL, pass_gate, NULL);
	pthread_join(t, NULL); /* it comes back, though the lock is held for ever */
	assert_int_equal(refused, 1);
	assert_true(word_of(&gate) & LOCK_STUCK);
	for (int i = 0; i < 100; i++) { /* at LOCK_PATIENCE_MS each that would be 10 s */
		pthread_create(&t, NULL, pass_gate, NULL);
		pthread_join(t, NULL);
	}
	assert_int_equal(refused, 101);
	lock_release(&gate);
	assert_int_equal(shared_own(&gate.word), 0); /* and with it all is well again */
	pthread_create(&t, NULL, pass_gate, NULL);
	pthread_join(t, NULL);
	assert_int_equal(passed, 1);
}

static int signals; /* atomic: that came to the thread which waits */

static void count_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

/* They come more often than it looks for the holder. It gives up by time, not by how often it looked, and says so. */
static void test_frequent_signals_do_not_lengthen_a_wait_in_vain(void **state)
{
	(void)state;
	enum { EVERY_US = 1000, FAR_TOO_MANY = 800 };
	struct sigaction a = {.sa_handler = count_signal};
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec every = {{0, EVERY_US * 1000}, {0, EVERY_US * 1000}};
	timer_t timer;
	pthread_t t;
	sigset_t usr1;
	refused = signals = 0;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigaction(SIGUSR1, &a, NULL);
	assert_true(take(&gate));
	pthread_create(&t, NULL, pass_gate, NULL);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL); /* the other thread takes them all */
	timer_create(CLOCK_MONOTONIC, &e, &timer);
	timer_settime(timer, 0, &every, NULL);
	pthread_join(t, NULL);
	timer_delete(timer);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	assert_int_equal(refused, 1);
	assert_true(word_of(&gate) & LOCK_STUCK);
	assert_in_range(signals, 0, FAR_TOO_MANY);
	lock_release(&gate);
}

static void *die_with_it(void *l)
{
	if (!take(l))
		abort();
	return NULL;
}

static void test_what_a_dead_thread_held_is_taken_over(void **state)
{
	(void)state;
	struct lock l = {0};
	pthread_t t;
	pthread_create(&t, NULL, die_with_it, &l);
	pthread_join(t, NULL);
	assert_int_not_equal(shared_own(&l.word), 0);
	assert_true(take(&l));
	assert_true(lock_is_inherited(&l));
	assert_int_equal(shared_own(&l.word) & ((1u << LOCK_TID_BITS) - 1), gettid());
	lock_release(&l);
	assert_true(take(&l));
	assert_false(lock_is_inherited(&l));
	lock_release(&l);
}

/* A jump out of a handler, or a child of vfork that was killed, leaves it so. */
static void test_a_thread_does_not_wait_for_itself(void **state)
{
	(void)state;
	struct lock l = {0};
	assert_true(take(&l));
#ifndef PPROF_DEBUG
	assert_true(take(&l));
	assert_true(lock_is_inherited(&l));
#endif
	lock_release(&l);
	assert_int_equal(shared_own(&l.word), 0);
}

static int in_fork(void (*in_child)(struct lock *l), struct lock *l)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		house.was_busy = self.busy;
		lock_fork_child();
		house_fork_child();
		in_child(l);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void takes_over(struct lock *l)
{
	bool had = take(l);
	uint32_t generation = shared_own(&l->word) >> LOCK_TID_BITS & HOUSE_GENERATIONS;
	_exit(had && lock_is_inherited(l) && generation == shared_own(&house.generation) ? 0 : 2);
}

/* The holder lives, but in the parent. */
static void test_what_a_thread_of_the_parent_held_is_taken_over(void **state)
{
	(void)state;
	struct lock l = {.word = SHARED_INIT(1u << LOCK_TID_BITS | (uint32_t)getppid())};
	house_start(NULL);
	self.busy = false;
	assert_int_equal(in_fork(takes_over, &l), 0);
}

static struct lock *held;

static void *tries(void *arg)
{
	return take(held) ? arg : NULL;
}

/* The thread that forked in a handler goes on in the child; what it held it holds there, too. */
static void keeps(struct lock *l)
{
	pthread_t t;
	void *had;
	held = l;
	pthread_create(&t, NULL, tries, l);
	pthread_join(t, &had);
	if (had || lock_is_inherited(l))
		_exit(3);
	lock_release(l);
	pthread_create(&t, NULL, tries, l);
	pthread_join(t, &had);
	_exit(had ? 0 : 4);
}

static void test_what_the_forking_thread_held_it_holds_in_the_child(void **state)
{
	(void)state;
	struct lock l = {0};
	house_start(NULL);
	assert_true(take(&l));
	assert_int_equal(in_fork(keeps, &l), 0);
	lock_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_free_lock_is_taken_with_the_holders_name),
		cmocka_unit_test(test_no_update_is_lost_between_threads),
		cmocka_unit_test(test_everybody_who_sleeps_is_woken_in_the_end),
		cmocka_unit_test(test_who_waits_in_vain_gives_up_and_the_next_one_at_once),
		cmocka_unit_test(test_frequent_signals_do_not_lengthen_a_wait_in_vain),
		cmocka_unit_test(test_what_a_dead_thread_held_is_taken_over),
		cmocka_unit_test(test_a_thread_does_not_wait_for_itself),
		cmocka_unit_test(test_what_a_thread_of_the_parent_held_is_taken_over),
		cmocka_unit_test(test_what_the_forking_thread_held_it_holds_in_the_child),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
