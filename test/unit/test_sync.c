/* test_sync.c - the house's lock: it excludes, it wakes who waits, it survives a fork.
 *
 * Runs in: its own process, with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/sync.h"

enum { THREADS = 4,
       TURNS = 20000 };

static struct lock lock;
static uint64_t counter; /* under lock, and not atomic: a lost update shows */

static void test_a_free_lock_is_taken_once(void **state)
{
	(void)state;
	struct lock l = {0};
	assert_true(lock_try(&l));
	assert_false(lock_try(&l));
	lock_release(&l);
	assert_int_equal(l.word, 0);
	lock_take(&l);
	assert_int_equal(l.word, 1);
	assert_false(lock_try(&l));
	lock_release(&l);
	assert_true(lock_try(&l));
}

static void *count_up(void *arg)
{
	for (int i = 0; i < TURNS; i++) {
		if (i % 8 == 0) {
			while (!lock_try(&lock))
				sched_yield();
		} else {
			lock_take(&lock);
		}
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
	assert_int_equal(lock.word, 0);
}

static struct lock gate;
static int passed; /* atomic */

static void *pass_gate(void *arg)
{
	lock_take(&gate);
	__atomic_fetch_add(&passed, 1, __ATOMIC_RELAXED);
	lock_release(&gate);
	return arg;
}

/* Each sleeper, woken, has to leave the mark for the next one. */
static void test_everybody_who_sleeps_is_woken_in_the_end(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	lock_take(&gate);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, pass_gate, NULL), 0);
	for (int ms = 0; ms < 10000 && __atomic_load_n(&gate.word, __ATOMIC_RELAXED) != 2; ms++)
		usleep(1000);
	assert_int_equal(__atomic_load_n(&gate.word, __ATOMIC_RELAXED), 2); /* somebody waits */
	usleep(20000);
	assert_int_equal(__atomic_load_n(&passed, __ATOMIC_RELAXED), 0);
	lock_release(&gate);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(passed, THREADS);
	assert_int_equal(gate.word, 0);
}

/* The forking thread holds it, waited for or not; the child's copy is usable after a release or a reset. */
static void test_a_fork_child_gets_a_usable_lock(void **state)
{
	(void)state;
	for (uint32_t word = 1; word <= 2; word++) {
		struct lock l = {.word = word};
		pid_t child = fork();
		if (child == 0) {
			if (word == 1)
				lock_release(&l);
			else
				lock_reset(&l);
			lock_take(&l);
			lock_release(&l);
			_exit(l.word == 0 ? 0 : 1);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_free_lock_is_taken_once),
		cmocka_unit_test(test_no_update_is_lost_between_threads),
		cmocka_unit_test(test_everybody_who_sleeps_is_woken_in_the_end),
		cmocka_unit_test(test_a_fork_child_gets_a_usable_lock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
