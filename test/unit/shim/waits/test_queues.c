/* test_queues.c - the accounts of those who wait: what each release is charged, by hand, against a simple model, and
 * by many threads at once.
 *
 * Runs in: its own process. The clock is a number that the tests set; among threads, one that every look at it moves
 * on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/queues.c shim/profiles/sampling.c shim/base/losses.c shim/base/text.c shim/base/arena.c
 * links: shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/base/losses.h"
#include "shim/threads/threads.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

static uint64_t now_ns; /* atomic */
static bool ticks;
static int looks; /* at the clock, of the main thread */
static __thread uint64_t last_look_ns;

uint64_t clock_ns(int clock) /* clock.c's */
{
	(void)clock;
	if (ticks)
		return last_look_ns = __atomic_add_fetch(&now_ns, 1, __ATOMIC_RELAXED);
	looks++;
	return last_look_ns = now_ns;
}

static struct thread threads[8];
enum { A = 0x7f0000001000, B = 0x7f0000002000 };

/* Nobody waits, nothing is left of the test before. */
static int reset(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(threads); i++)
		queues_forget(&threads[i]);
	memset(threads, 0, sizeof threads);
	memset(&losses, 0, sizeof losses);
	now_ns = 0;
	ticks = false;
	looks = 0;
	for (size_t i = 0; i < COUNT(queues_buckets); i++)
		assert_true(shared_own(&queues_buckets[i].waiters) == 0 && !queues_buckets[i].first &&
		            shared_own(&queues_buckets[i].lock.word) == 0);
	return 0;
}

static void enter_at(int thread, uintptr_t lock, uint64_t ns)
{
	queues_enter(&threads[thread], lock, ns);
}

static uint64_t release_at(uintptr_t lock, uint64_t ns)
{
	now_ns = ns;
	return queues_release(lock);
}

/* The n-th lock of those whose bucket is the same as this one's. */
static uintptr_t like(uintptr_t lock, int n)
{
	uintptr_t other = lock;
	while (n)
		n -= queues_bucket_of(other += 40) == queues_bucket_of(lock);
	return other;
}

/* --- accounts by hand ------------------------------------------------------------------------------- */

static void test_a_thread_that_ended_in_the_queue_is_found_out(void **state)
{
	enum { NOBODY = 0x3ffffff, LATER_NS = 200000000 };
	(void)state;
	house_start(NULL);
	shared_set_own(&threads[0].tid, NOBODY);
	shared_set_own(&threads[1].tid, (int)getpid());
	enter_at(0, A, 100);
	enter_at(1, A, 100);
	assert_int_equal(release_at(A, 200), 200); /* too early to look */
	assert_int_equal(release_at(A, 200 + LATER_NS), LATER_NS);
	assert_null(shared_own(&threads[0].waits_for));
	queues_leave(&threads[1]);
	enter_at(0, A, 500 + LATER_NS);
	assert_int_equal(release_at(A, 500 + 2 * LATER_NS), 0); /* and nobody is left */
	shared_set_own(&threads[0].tid, 0);
	shared_set_own(&threads[1].tid, 0);
}

static void test_one_waiter_is_charged_from_its_beginning_and_then_from_release_to_release(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	assert_int_equal(release_at(A, 150), 50);
	assert_int_equal(release_at(A, 150), 0);
	assert_int_equal(release_at(A, 170), 20); /* another one was faster, and lets go in turn */
	queues_leave(&threads[0]);
	assert_null(shared_own(&threads[0].waits_for));
	assert_int_equal(release_at(A, 300), 0);
}

static void test_a_release_that_nobody_waits_for_is_free(void **state)
{
	(void)state;
	assert_false(queues_maybe(A));
	assert_int_equal(release_at(A, 100), 0);
	assert_int_equal(looks, 0); /* at the clock */
	enter_at(0, like(A, 1), 100);
	assert_true(queues_maybe(A)); /* who knows */
	assert_int_equal(release_at(A, 200), 0);
	assert_int_equal(looks, 0);
	assert_int_equal(release_at(like(A, 1), 200), 100);
	queues_leave(&threads[0]);
	queues_leave(&threads[0]); /* once is enough */
	assert_false(queues_maybe(A));
}

static void test_each_of_three_waiters_is_charged_from_when_it_came(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	enter_at(1, A, 130);
	enter_at(2, A, 160);
	assert_int_equal(release_at(A, 200), 100 + 70 + 40);
	queues_leave(&threads[0]); /* it has the lock */
	assert_int_equal(release_at(A, 260), 60 + 60);
	queues_leave(&threads[1]);
	assert_int_equal(release_at(A, 300), 40);
	queues_leave(&threads[2]);
	assert_false(queues_maybe(A));
}

static void test_who_comes_after_a_release_is_charged_from_its_own_beginning(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	assert_int_equal(release_at(A, 200), 100);
	enter_at(1, A, 240);
	queues_leave(&threads[0]);
	enter_at(2, A, 250);
	assert_int_equal(release_at(A, 300), 60 + 50);
	queues_leave(&threads[1]);
	queues_leave(&threads[2]);
}

/* The time was taken before the bucket's lock was: a release came between. It is not charged with a wait it did not
 * see. */
static void test_who_comes_with_a_time_before_the_last_release_is_charged_from_that_release(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	assert_int_equal(release_at(A, 200), 100);
	enter_at(1, A, 180);
	assert_int_equal(release_at(A, 210), 10 + 10);
	enter_at(2, A, 205);
	queues_leave(&threads[2]); /* gives up: leaves nothing behind */
	assert_int_equal(release_at(A, 220), 10 + 10);
	queues_leave(&threads[1]);
	assert_int_equal(release_at(A, 230), 10);
	queues_leave(&threads[0]);
}

static void test_who_gives_up_takes_its_time_along(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	enter_at(1, A, 150);
	queues_leave(&threads[0]); /* timed out */
	assert_int_equal(release_at(A, 170), 20);
	enter_at(0, A, 180);
	queues_leave(&threads[1]);
	queues_leave(&threads[0]);
	assert_int_equal(release_at(A, 500), 0);
}

static void test_sums_that_come_round_are_right_all_the_same(void **state)
{
	(void)state;
	const uint64_t late = UINT64_MAX - 1000;
	for (int i = 0; i < 5; i++)
		enter_at(i, A, late + (uint64_t)i * 10);
	assert_int_equal(release_at(A, late + 100), 100 + 90 + 80 + 70 + 60);
	queues_leave(&threads[3]);
	assert_int_equal(release_at(A, late + 110), 4 * 10);
	for (int i = 0; i < 5; i++)
		queues_leave(&threads[i]);
}

static void test_waits_of_other_locks_are_other_accounts(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	enter_at(1, B, 110);
	enter_at(2, like(A, 1), 120);
	assert_int_equal(release_at(B, 200), 90);
	assert_int_equal(release_at(A, 200), 100);
	assert_int_equal(release_at(like(A, 1), 200), 80);
	for (int i = 0; i < 3; i++)
		queues_leave(&threads[i]);
}

/* --- those who never said that they leave ----------------------------------------------------------------- */

static void test_a_wait_that_was_left_by_a_jump_ends_when_the_thread_waits_again(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	enter_at(1, A, 120);
	enter_at(0, B, 200); /* it jumped out of its wait for A */
	assert_int_equal(release_at(A, 220), 100);
	assert_int_equal(release_at(B, 220), 20);
	enter_at(0, B, 240); /* and again, to the very same lock */
	assert_int_equal(release_at(B, 250), 10);
	queues_leave(&threads[0]);
	queues_leave(&threads[1]);
	assert_false(queues_maybe(A) || queues_maybe(B));
}

static void test_a_record_that_another_thread_gets_waits_no_more(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	enter_at(1, A, 100);
	queues_forget(&threads[0]);
	queues_forget(&threads[2]); /* which waits for nothing */
	assert_null(shared_own(&threads[0].waits_for));
	assert_int_equal(release_at(A, 150), 50);
	queues_forget(&threads[1]);
	assert_false(queues_maybe(A));
}

/* A signal handler that interrupted the recorder, or the table itself. */
static void test_a_thread_that_holds_locks_of_the_house_is_left_out_and_counted(void **state)
{
	(void)state;
	enter_at(0, A, 100);
	assert_true(self_hold());
	enter_at(1, A, 120);
	assert_null(shared_own(&threads[1].waits_for));
	assert_int_equal(shared_own(&losses.contention_nested), 1);
	assert_int_equal(release_at(A, 150), 0);
	assert_int_equal(shared_own(&losses.contention_nested), 2);
	assert_int_equal(release_at(B, 150), 0); /* nothing was lost */
	assert_int_equal(shared_own(&losses.contention_nested), 2);
	queues_leave(&threads[0]);
	assert_non_null(shared_own(&threads[0].waits_for)); /* it could not: its next wait mends that */
	self_release();
	enter_at(0, B, 300);
	assert_int_equal(release_at(A, 400), 0);
	assert_int_equal(release_at(B, 400), 100);
	queues_leave(&threads[0]);
	assert_false(self.busy);
}

/* --- memory -------------------------------------------------------------------------------------------- */

static void test_many_locks_in_one_bucket_keep_their_accounts_apart(void **state)
{
	enum { N = 60 };
	static struct thread many[N];
	uintptr_t lock[N];
	(void)state;
	for (int i = 0; i < N; i++)
		lock[i] = like(A, i);
	uint64_t mapped = 0;
	for (int round = 0; round < 500; round++) {
		for (int i = 0; i < N; i++)
			queues_enter(&many[i], lock[i], 1000 + (uint64_t)i);
		for (int i = 0; i < N; i++)
			assert_int_equal(release_at(lock[i], 2000), 1000 - i);
		for (int i = 0; i < N; i++) /* in an order that takes them out of the list's middle */
			queues_leave(&many[i * 7 % N]);
		assert_false(queues_maybe(A));
		if (round == 0)
			mapped = arena_mapped_bytes();
	}
	assert_int_equal(arena_mapped_bytes(), mapped); /* what nobody waits for is used again */
}

static void no_memory(void)
{
	queues_fork_child(); /* there may be some that are not used now */
	enter_at(0, A, 100);
	arena_set_limit(0);
	while (arena_alloc(16))
		continue;
	enter_at(1, A, 150); /* somebody waits already: there is nothing to make */
	CHECK(shared_own(&losses.contention_no_memory) == 0 && shared_own(&threads[1].waits_for));
	enter_at(2, B, 150);
	CHECK(shared_own(&losses.contention_no_memory) == 1 && !shared_own(&threads[2].waits_for) && !queues_maybe(B));
	CHECK(release_at(B, 200) == 0 && release_at(A, 200) == 150);
	queues_leave(&threads[2]);
	queues_leave(&threads[0]);
	queues_leave(&threads[1]);
	enter_at(2, like(A, 1), 300); /* the one that A had */
	CHECK(shared_own(&threads[2].waits_for) && release_at(like(A, 1), 350) == 50);
	CHECK(shared_own(&losses.contention_no_memory) == 1 && !self.busy);
}

static void test_at_the_memory_cap_waits_are_lost_and_counted(void **state)
{
	(void)state;
	in_child(no_memory);
}

static void forked(void)
{
	queues_fork_child(); /* nothing was used: nothing to do */
	enter_at(0, A, 100);
	enter_at(1, like(A, 1), 100);
	queues_leave(&threads[1]);
	shared_set_own(&queues_bucket_of(A)->lock.word, 1); /* held by a thread that is not in the child */
	shared_set_own(&queues_bucket_of(B)->lock.word, 2);
	queues_fork_child();
	for (int i = 0; i < 8; i++)
		shared_set_own(&threads[i].waits_for, NULL); /* as threads.c does */
	CHECK(!queues_maybe(A) && release_at(A, 200) == 0);
	enter_at(0, A, 300);
	enter_at(1, A, 310);
	enter_at(2, B, 310);
	CHECK(release_at(A, 320) == 30 && release_at(B, 320) == 10);
	queues_leave(&threads[0]);
	queues_leave(&threads[1]);
	queues_leave(&threads[2]);
	CHECK(!queues_maybe(A) && !queues_maybe(B));
	queues_fork_child();
	CHECK(!queues_bucket_of(A)->spare); /* its own child forgets, too */
}

static void test_in_the_child_of_a_fork_nobody_waits_and_no_bucket_is_locked(void **state)
{
	(void)state;
	in_child(forked);
}

/* --- against a simple model -------------------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

enum { WAITERS = 40, LOCKS = 6 };

static struct {
	int lock; /* plus one; 0: it does not wait */
	uint64_t from_ns;
} model[WAITERS];
static uint64_t released_ns[LOCKS];

/* The last release that anybody saw who waits now or waited with one who does: where nobody waits, all is forgotten. */
static uint64_t release_of(int lock)
{
	for (int i = 0; i < WAITERS; i++)
		if (model[i].lock == lock + 1)
			return released_ns[lock];
	return released_ns[lock] = 0;
}

static void forget_releases(void)
{
	for (int l = 0; l < LOCKS; l++)
		release_of(l);
}

/* Every waiter by itself: what it was charged is the time up to the last release before it left. */
static void test_whatever_comes_when_the_charges_are_those_of_each_waiter_by_itself(void **state)
{
	enum { STEPS = 200000 };
	static struct thread record[WAITERS];
	uintptr_t lock[LOCKS] = {A, like(A, 1), like(A, 2), B, like(B, 1), 0x601040};
	uint64_t t = 1000, charged = 0, due = 0;
	(void)state;
	for (int step = 0; step < STEPS; step++) {
		uint64_t random = next_random();
		int w = (int)(random % WAITERS), l = (int)((random >> 32) % LOCKS);
		t += random >> 60;
		forget_releases();
		switch (random >> 16 & 3) {
		case 0:
		case 1: { /* comes, at a time that may be a little ago; if it waits already, it jumped out */
			uint64_t since = t - (random >> 20) % 20;
			queues_enter(&record[w], lock[l], since);
			model[w].lock = 0;
			uint64_t last = release_of(l);
			model[w].lock = l + 1;
			model[w].from_ns = last > since ? last : since;
			break;
		}
		case 2:
			queues_leave(&record[w]);
			model[w].lock = 0;
			break;
		default: {
			uint64_t want = 0, got = release_at(lock[l], t);
			for (int i = 0; i < WAITERS; i++)
				if (model[i].lock == l + 1) {
					want += t - model[i].from_ns;
					model[i].from_ns = t;
				}
			released_ns[l] = t;
			charged += got;
			due += want;
			if (got != want)
				fail_msg("step %d: %llu, not %llu", step, (unsigned long long)got,
				         (unsigned long long)want);
		}
		}
	}
	assert_int_equal(charged, due);
	for (int i = 0; i < WAITERS; i++)
		queues_forget(&record[i]);
}

/* --- many threads ----------------------------------------------------------------------------------------- */

enum { THREADS = 6, OWN_LOCKS = 4 };

static struct {
	pthread_mutex_t mutex; /* so that a release and a leave, or a look at the clock and a beginning, are one */
	uintptr_t lock;
} locks[OWN_LOCKS];

struct hammer {
	struct thread record;
	unsigned random;
	uint64_t due, charged; /* over all its waits and its releases */
	pthread_t thread;
} __attribute__((aligned(64)));

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 20000 };
#else
enum { ROUNDS = 100000 };
#endif

/* It comes, others release, it releases itself (as whoever had the lock) and is gone. */
static void *hammer_main(void *arg)
{
	struct hammer *h = arg;
	for (int i = 0; i < ROUNDS; i++) {
		h->random = h->random * 1103515245 + 12345;
		int l = h->random >> 16 & (OWN_LOCKS - 1);
		pthread_mutex_lock(&locks[l].mutex);
		uint64_t since = clock_ns(CLOCK_MONOTONIC);
		queues_enter(&h->record, locks[l].lock, since);
		pthread_mutex_unlock(&locks[l].mutex);
		if (h->random >> 20 & 1)
			sched_yield();
		pthread_mutex_lock(&locks[l].mutex);
		h->charged += queues_release(locks[l].lock);
		h->due += last_look_ns - since;
		queues_leave(&h->record);
		pthread_mutex_unlock(&locks[l].mutex);
	}
	return NULL;
}

static void test_what_threads_are_charged_is_what_they_waited(void **state)
{
	static struct hammer hammers[THREADS];
	uint64_t due = 0, charged = 0;
	(void)state;
	ticks = true;
	for (int i = 0; i < OWN_LOCKS; i++) {
		pthread_mutex_init(&locks[i].mutex, NULL);
		locks[i].lock = i < 3 ? like(A, i) : B; /* three of them meet in one bucket */
	}
	for (int i = 0; i < THREADS; i++) {
		hammers[i].random = (unsigned)i * 77;
		assert_int_equal(pthread_create(&hammers[i].thread, NULL, hammer_main, &hammers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(hammers[i].thread, NULL);
		due += hammers[i].due;
		charged += hammers[i].charged;
	}
	assert_int_equal(charged, due);
	assert_true(due > THREADS * ROUNDS);
	assert_false(queues_maybe(A) || queues_maybe(B));
	assert_int_equal(shared_own(&losses.contention_nested) + shared_own(&losses.contention_no_memory), 0);
}

/* The same with nothing in order: nobody is charged before it came, or twice. */
static void *free_hammer_main(void *arg)
{
	struct hammer *h = arg;
	for (int i = 0; i < ROUNDS; i++) {
		h->random = h->random * 1103515245 + 12345;
		uintptr_t lock = locks[h->random >> 16 & (OWN_LOCKS - 1)].lock;
		uint64_t since = clock_ns(CLOCK_MONOTONIC);
		queues_enter(&h->record, lock, since);
		for (unsigned k = h->random >> 20 & 3; k; k--)
			h->charged += queues_release(locks[h->random >> 22 & (OWN_LOCKS - 1)].lock);
		queues_leave(&h->record);
		h->due += clock_ns(CLOCK_MONOTONIC) - since; /* at most */
	}
	return NULL;
}

static void test_threads_are_never_charged_more_than_they_waited(void **state)
{
	static struct hammer hammers[THREADS];
	uint64_t due = 0, charged = 0;
	(void)state;
	ticks = true;
	for (int i = 0; i < OWN_LOCKS; i++)
		locks[i].lock = like(A, i);
	for (int i = 0; i < THREADS; i++) {
		hammers[i].random = (unsigned)i * 99;
		assert_int_equal(pthread_create(&hammers[i].thread, NULL, free_hammer_main, &hammers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(hammers[i].thread, NULL);
		due += hammers[i].due;
		charged += hammers[i].charged;
	}
	assert_true(charged > 0);
	assert_true(charged <= due);
	assert_false(queues_maybe(A));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_one_waiter_is_charged_from_its_beginning_and_then_from_release_to_release),
		TEST(test_a_thread_that_ended_in_the_queue_is_found_out),
		TEST(test_a_release_that_nobody_waits_for_is_free),
		TEST(test_each_of_three_waiters_is_charged_from_when_it_came),
		TEST(test_who_comes_after_a_release_is_charged_from_its_own_beginning),
		TEST(test_who_comes_with_a_time_before_the_last_release_is_charged_from_that_release),
		TEST(test_who_gives_up_takes_its_time_along),
		TEST(test_sums_that_come_round_are_right_all_the_same),
		TEST(test_waits_of_other_locks_are_other_accounts),
		TEST(test_a_wait_that_was_left_by_a_jump_ends_when_the_thread_waits_again),
		TEST(test_a_record_that_another_thread_gets_waits_no_more),
		TEST(test_a_thread_that_holds_locks_of_the_house_is_left_out_and_counted),
		TEST(test_many_locks_in_one_bucket_keep_their_accounts_apart),
		TEST(test_at_the_memory_cap_waits_are_lost_and_counted),
		TEST(test_in_the_child_of_a_fork_nobody_waits_and_no_bucket_is_locked),
		TEST(test_whatever_comes_when_the_charges_are_those_of_each_waiter_by_itself),
		TEST(test_what_threads_are_charged_is_what_they_waited),
		TEST(test_threads_are_never_charged_more_than_they_waited),
	};
	return cmocka_run_group_tests(tests, reset, NULL);
}
