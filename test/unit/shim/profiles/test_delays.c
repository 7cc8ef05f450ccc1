/* test_delays.c - which waits are kept and what they stand for; rates that requests raise.
 *
 * Runs in: its own process. The clock is a number that the tests set, and a stack is a function and its caller. The
 * generator is set to a state of our own, so what has to do with chance comes out the same every time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/delays.c shim/profiles/acquires.c shim/stack/stacks.c shim/base/losses.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include "test/unit/shim/profiles/delays_made.h"

/* --- waits ---------------------------------------------------------------------------------------- */

static void test_at_rate_one_every_wait_is_counted_with_its_delay(void **state)
{
	(void)state;
	for (uint64_t ns = 1; ns <= 100; ns++)
		wait_at(1, ns);
	expect(CONTENTION_BLOCK, 1, 100, 5050);
	expect(CONTENTION_MUTEX, 1, 0, 0);
}

static void test_waits_of_at_least_the_rate_are_counted_exactly(void **state)
{
	static const uint64_t delays[] = {1000, 1001, 5000, 123456789, UINT64_MAX / 4};
	uint64_t sum = 0;
	(void)state;
	delays_start(1000, 1);
	for (size_t i = 0; i < COUNT(delays); i++) {
		wait_at(2, delays[i]);
		sum += delays[i];
		expect(CONTENTION_BLOCK, 2, i + 1, sum);
	}
}

static void test_a_wait_that_the_clock_does_not_see_is_one_nanosecond(void **state)
{
	(void)state;
	wait_at(3, 0);
	now_ns = 100;
	delays_waited(WAIT_pthread_mutex_lock, 101, now_ns, at(3), false); /* clocks of two processors */
	expect(CONTENTION_BLOCK, 3, 2, 2);
}

static void test_shorter_waits_are_kept_without_bias_for_delay_and_count(void **state)
{
	static const struct {
		uint64_t rate, delay_ns;
	} rows[] = {{1000, 1},   {1000, 10},  {1000, 500},
	            {1000, 999}, {10000, 50}, {10000, 3333},
	            {7, 5},      {2, 1},      {1ull << 40, 1ull << 36}};
	enum { N = 300000 };
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uintptr_t site = 100 + i;
		double rate = (double)rows[i].rate, p = (double)rows[i].delay_ns / rate;
		delays_start(rows[i].rate, 1);
		for (int k = 0; k < N; k++)
			wait_at(site, rows[i].delay_ns);
		struct contention_row row = row_of(CONTENTION_BLOCK, site);
		expect_near("delay", (double)row.delay_ns, N * (double)rows[i].delay_ns, N * rate * rate * p * (1 - p));
		expect_near("count", (double)row.contentions, N, N * (1 - p) / p);
		assert_int_equal(row.delay_ns % rows[i].rate, 0); /* each stands for a rate */
	}
}

static void test_waits_of_all_lengths_together_are_kept_without_bias(void **state)
{
	enum { N = 300000, RATE = 1000 };
	double delay = 0, delay_variance = 0, count_variance = 0;
	uint64_t random = 88172645463325252u;
	(void)state;
	delays_start(RATE, 1);
	for (int k = 0; k < N; k++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		uint64_t ns = 1 + random % 3000;
		double p = ns < RATE ? (double)ns / RATE : 1;
		wait_at(4, ns);
		delay += (double)ns;
		delay_variance += p < 1 ? RATE * (double)RATE * p * (1 - p) : 0;
		count_variance += (1 - p) / p;
	}
	struct contention_row row = row_of(CONTENTION_BLOCK, 4);
	expect_near("delay", (double)row.delay_ns, delay, delay_variance);
	expect_near("count", (double)row.contentions, N, count_variance);
}

static void test_at_rate_zero_no_wait_is_counted_for_good(void **state)
{
	(void)state;
	delays_start(0, 0);
	assert_int_equal(shared_own(&waits_watchers), 0);
	wait_at(5, 1000000);
	cause_at(5, 1000000);
	for (int kind = 0; kind < CONTENTION_KINDS; kind++) {
		expect(kind, 5, 0, 0);
		assert_int_equal(snapshot_contention_rate(kind), 0);
		assert_int_equal(snapshot_contention_raise(kind, 1), -ENOSYS);
		assert_int_equal(snapshot_contention_rate(kind), 0);
	}
	delays_start(0, 1);
	assert_int_equal(shared_own(&waits_watchers), WAITS_FOR_MUTEX);
	delays_start(1, 0);
	assert_int_equal(shared_own(&waits_watchers), WAITS_FOR_BLOCK);
}

/* --- their causes ------------------------------------------------------------------------------------ */

static void test_at_fraction_one_all_that_holders_cause_is_counted(void **state)
{
	(void)state;
	for (uint64_t ns = 0; ns <= 100; ns++)
		cause_at(6, ns); /* 0: nobody waited: no contention */
	expect(CONTENTION_MUTEX, 6, 100, 5050);
	expect(CONTENTION_BLOCK, 6, 0, 0);
}

static void test_at_fraction_n_one_in_n_is_kept_and_stands_for_n(void **state)
{
	static const uint64_t fractions[] = {2, 3, 10, 100, 1000};
	enum { N = 300000 };
	(void)state;
	for (size_t i = 0; i < COUNT(fractions); i++) {
		double n = (double)fractions[i];
		delays_start(1, fractions[i]);
		for (int k = 0; k < N; k++)
			cause_at(120 + i, 50);
		struct contention_row row = row_of(CONTENTION_MUTEX, 120 + i);
		assert_int_equal(row.contentions % fractions[i], 0);
		assert_int_equal(row.delay_ns, row.contentions * 50);
		expect_near("count", (double)row.contentions, N, N * (n - 1));
	}
}

static void test_one_stack_may_wait_and_make_others_wait(void **state)
{
	(void)state;
	now_ns = 1500;
	delays_waited(WAIT_pthread_cond_wait, 1000, now_ns, at(7), false);
	delays_caused(0, 0x1000 + WAIT_pthread_cond_wait, 30, at(7)); /* a wait for a condition lets the mutex go */
	delays_caused(0, 0x1000 + WAIT_pthread_cond_wait, 40, at(7));
	struct region r = {0};
	struct contention_snapshot block, mutex;
	assert_int_equal(snapshot_contention(&r, CONTENTION_BLOCK, &block), 0);
	assert_int_equal(snapshot_contention(&r, CONTENTION_MUTEX, &mutex), 0);
	assert_int_equal(block.count, mutex.count);
	size_t i = block.count - 1;
	assert_ptr_equal(block.rows[i].stack, mutex.rows[i].stack);
	assert_int_equal(block.rows[i].contentions, 1);
	assert_int_equal(block.rows[i].delay_ns, 500);
	assert_int_equal(mutex.rows[i].contentions, 2);
	assert_int_equal(mutex.rows[i].delay_ns, 70);
	region_release(&r);
}

/* --- rates ------------------------------------------------------------------------------------------- */

static void test_the_finest_rate_that_is_asked_for_holds(void **state)
{
	(void)state;
	delays_start(10000, 50);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50);
	int fine = snapshot_contention_raise(CONTENTION_BLOCK, 100);
	assert_true(fine >= 0);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 100);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50); /* the other side's is its own */
	int middle = snapshot_contention_raise(CONTENTION_BLOCK, 500);
	int coarse = snapshot_contention_raise(CONTENTION_BLOCK, 1000000);
	int finest = snapshot_contention_raise(CONTENTION_BLOCK, 1);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 1);
	snapshot_contention_restore(CONTENTION_BLOCK, finest);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 100);
	snapshot_contention_restore(CONTENTION_BLOCK, fine);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 500);
	snapshot_contention_restore(CONTENTION_BLOCK, middle);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000); /* never coarser than the preset */
	snapshot_contention_restore(CONTENTION_BLOCK, coarse);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000);
	int fraction = snapshot_contention_raise(CONTENTION_MUTEX, 1);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 1);
	snapshot_contention_restore(CONTENTION_MUTEX, fraction);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50);
}

static void test_a_raised_rate_is_what_waits_are_kept_at(void **state)
{
	(void)state;
	delays_start(1ull << 40, 1ull << 40);
	for (int i = 0; i < 100; i++) {
		wait_at(16, 3);
		cause_at(16, 3);
	}
	expect(CONTENTION_BLOCK, 16, 0, 0);
	expect(CONTENTION_MUTEX, 16, 0, 0);
	int block = snapshot_contention_raise(CONTENTION_BLOCK, 1),
	    mutex = snapshot_contention_raise(CONTENTION_MUTEX, 1);
	wait_at(16, 3);
	cause_at(16, 4);
	expect(CONTENTION_BLOCK, 16, 1, 3);
	expect(CONTENTION_MUTEX, 16, 1, 4);
	snapshot_contention_restore(CONTENTION_BLOCK, block);
	snapshot_contention_restore(CONTENTION_MUTEX, mutex);
	for (int i = 0; i < 100; i++) {
		wait_at(16, 3);
		cause_at(16, 3);
	}
	expect(CONTENTION_BLOCK, 16, 1, 3);
	expect(CONTENTION_MUTEX, 16, 1, 4);
}

static void test_too_many_that_ask_at_once_are_turned_away(void **state)
{
	int token[100], count = 0;
	(void)state;
	delays_start(1000, 1000);
	while (count < 100 && (token[count] = snapshot_contention_raise(CONTENTION_MUTEX, 500 - (unsigned)count)) >= 0)
		count++;
	assert_int_equal(token[count], -EBUSY);
	assert_in_range(count, 4, 64);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 500 - count + 1);
	int other = snapshot_contention_raise(CONTENTION_BLOCK, 7);
	assert_true(other >= 0); /* there is room on the other side */
	snapshot_contention_restore(CONTENTION_BLOCK, other);
	snapshot_contention_restore(CONTENTION_MUTEX, token[3]);
	assert_int_equal(snapshot_contention_raise(CONTENTION_MUTEX, 2), token[3]);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 2);
	for (int i = 0; i < count; i++)
		snapshot_contention_restore(CONTENTION_MUTEX, token[i]);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_at_rate_one_every_wait_is_counted_with_its_delay, reset),
		cmocka_unit_test_setup(test_waits_of_at_least_the_rate_are_counted_exactly, reset),
		cmocka_unit_test_setup(test_a_wait_that_the_clock_does_not_see_is_one_nanosecond, reset),
		cmocka_unit_test_setup(test_shorter_waits_are_kept_without_bias_for_delay_and_count, reset),
		cmocka_unit_test_setup(test_waits_of_all_lengths_together_are_kept_without_bias, reset),
		cmocka_unit_test_setup(test_at_rate_zero_no_wait_is_counted_for_good, reset),
		cmocka_unit_test_setup(test_at_fraction_one_all_that_holders_cause_is_counted, reset),
		cmocka_unit_test_setup(test_at_fraction_n_one_in_n_is_kept_and_stands_for_n, reset),
		cmocka_unit_test_setup(test_one_stack_may_wait_and_make_others_wait, reset),
		cmocka_unit_test_setup(test_the_finest_rate_that_is_asked_for_holds, reset),
		cmocka_unit_test_setup(test_a_raised_rate_is_what_waits_are_kept_at, reset),
		cmocka_unit_test_setup(test_too_many_that_ask_at_once_are_turned_away, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
