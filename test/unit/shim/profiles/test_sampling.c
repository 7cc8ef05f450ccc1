/* test_sampling.c - the maths against libm, the probabilities against the formula, with fixed seeds.
 *
 * Runs in: its own process, with threads. Draws are pseudo-random from a fixed seed, but a thread's sequence also
 * depends on where its thread-local storage lies; so limits are 5 standard errors (once in two million).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/sampling.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shim/base/random.h"
#include "shim/profiles/sampling.h"
#include "test/unit/support/count.h"

/* libm is not among the libraries that tests link; its functions, by the compiler's own series in long double. */
static long double exact_log(long double u)
{
	int e = 0;
	while (u < 0.75L)
		u *= 2, e--;
	while (u > 1.5L)
		u /= 2, e++;
	long double z = (u - 1) / (u + 1), power = z, sum = 0;
	for (int k = 1; k < 120; k += 2, power *= z * z)
		sum += power / k;
	return 2 * sum + e * 0.693147180559945309417232121458L;
}

static long double exact_one_minus_exp(long double x)
{
	if (x < 1) { /* the series alone: no cancellation that matters */
		long double term = x, sum = x;
		for (int k = 2; k < 60; k++)
			sum += term *= -x / k;
		return sum;
	}
	long double whole = 1;
	while (x > 1) {
		whole *= 0.367879441171442321595523770161460867L;
		x -= 1;
	}
	return 1 - whole * (1 - exact_one_minus_exp(x == 1 ? 0.99999999999999999L : x));
}

static bool is_near(long double got, long double want, long double relative)
{
	long double error = got - want;
	return (error < 0 ? -error : error) <= relative * (want < 0 ? -want : want);
}

static void test_the_logarithm_is_right_over_its_whole_range(void **state)
{
	(void)state;
	double u = 0x1p-54;
	for (; u < 0.999999; u *= 1.0137)
		if (!is_near(sampling_minus_log(u), -exact_log(u), 1e-13L))
			fail_msg("-ln(%a) = %.17g, not %.17Lg", u, sampling_minus_log(u), -exact_log(u));
	/* next to 1 the value is small: the largest double below, and some below that */
	for (int k = 1; k <= 50; k++) {
		double v = 1 - 0x1p-53 * (1ull << k);
		if (v > 0 && !is_near(sampling_minus_log(v), -exact_log(v), 1e-9L))
			fail_msg("-ln(%a) = %.17g, not %.17Lg", v, sampling_minus_log(v), -exact_log(v));
	}
	assert_true(sampling_minus_log(1 - 0x1p-53) >= 0);
	static const double powers[] = {0.5, 0.25, 0.125, 0x1p-30, 0x1p-53};
	for (size_t i = 0; i < COUNT(powers); i++)
		assert_true(is_near(sampling_minus_log(powers[i]), -exact_log(powers[i]), 1e-15L));
}

static void test_the_logarithm_never_grows(void **state)
{
	(void)state;
	double last = sampling_minus_log(0x1p-54);
	for (double u = 0x1p-54; u < 1; u *= 1.00031) {
		double now = sampling_minus_log(u);
		if (now > last)
			fail_msg("-ln grows at %a", u);
		last = now;
	}
}

static void test_one_minus_exp_is_right_from_tiny_to_huge(void **state)
{
	(void)state;
	for (double x = 1e-13; x < 60; x *= 1.0171)
		if (!is_near(sampling_one_minus_exp(x), exact_one_minus_exp(x), 1e-12L))
			fail_msg("1-exp(-%g) = %.17g, not %.17Lg", x, sampling_one_minus_exp(x),
			         exact_one_minus_exp(x));
	assert_true(sampling_one_minus_exp(0) == 0);
	assert_true(sampling_one_minus_exp(64) == 1);
	assert_true(sampling_one_minus_exp(65) == 1);
	assert_true(sampling_one_minus_exp(1e300) == 1);
	for (double x = 1e-9; x < 200; x *= 1.01)
		assert_true(sampling_one_minus_exp(x) <= 1 && sampling_one_minus_exp(x) > 0);
}

static void test_a_weight_is_one_over_the_probability(void **state)
{
	static const uint64_t rates[] = {2, 100, 4096, 524288, 1ull << 30, 1ull << 40};
	(void)state;
	for (size_t i = 0; i < COUNT(rates); i++) {
		random_start(1);
		sampling_start(rates[i]);
		assert_int_equal(sampling_rate_bytes(), rates[i]);
		for (uint64_t size = 1; size <= 1ull << 42; size = size * 3 / 2 + 1) {
			struct sampling_weight w = sampling_weight(size);
			long double objects = 1 / exact_one_minus_exp((long double)size / rates[i] > 90
			                                                      ? 90
			                                                      : (long double)size / rates[i]);
			long double slack = 0.51L / SAMPLING_OBJECT_UNIT / objects + 1e-11L;
			if (!is_near((long double)w.objects / SAMPLING_OBJECT_UNIT, objects, slack))
				fail_msg("rate %llu size %llu: %llu objects", (unsigned long long)rates[i],
				         (unsigned long long)size, (unsigned long long)w.objects);
			if (!is_near(w.bytes, objects * size, 0.51L / (objects * size) + 1e-11L))
				fail_msg("rate %llu size %llu: %llu bytes", (unsigned long long)rates[i],
				         (unsigned long long)size, (unsigned long long)w.bytes);
		}
	}
}

static void test_without_sampling_a_block_weighs_itself(void **state)
{
	static const size_t sizes[] = {0, 1, 16, 4096, (size_t)1 << 40};
	(void)state;
	for (uint64_t rate = 0; rate <= 1; rate++) {
		random_start(1);
		sampling_start(rate);
		for (size_t i = 0; i < COUNT(sizes); i++) {
			assert_int_equal(sampling_weight(sizes[i]).objects, SAMPLING_OBJECT_UNIT);
			assert_int_equal(sampling_weight(sizes[i]).bytes, sizes[i]);
		}
	}
	random_start(1);
	sampling_start(524288);
	assert_int_equal(sampling_weight(0).objects, SAMPLING_OBJECT_UNIT);
	assert_int_equal(sampling_weight(0).bytes, 0);
}

/* What a hook does with the answer. */
static bool ask(size_t size)
{
	if (sampling_skip(size) || !sampling_enter(size))
		return false;
	sampling_leave();
	return true;
}

static void forget_thread(void)
{
	self = (struct self){0};
}

static void expect_share(const char *what, uint64_t hits, uint64_t draws, long double p)
{
	long double mean = draws * p, variance = draws * p * (1 - p), off = hits - mean;
	if (off * off > 25 * variance + 1)
		fail_msg("%s: %llu of %llu, expected %.1Lf", what, (unsigned long long)hits, (unsigned long long)draws,
		         mean);
}

static void test_a_block_is_sampled_with_the_probability_of_its_size(void **state)
{
	static const struct {
		size_t size;
		uint64_t rate, draws;
	} rows[] = {
		{16, 524288, 20000000},   {24, 524288, 20000000},    {100, 524288, 4000000},
		{1000, 524288, 2000000},  {4096, 524288, 1000000},   {65536, 524288, 400000},
		{524288, 524288, 400000}, {1 << 20, 524288, 400000}, {4 << 20, 524288, 400000},
		{16, 64, 400000},         {64, 64, 400000},          {1, 2, 400000},
		{3, 2, 400000},           {7, 10, 400000},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char what[64];
		uint64_t hits = 0;
		random_start(12345 + i);
		sampling_start(rows[i].rate);
		forget_thread();
		for (uint64_t k = 0; k < rows[i].draws; k++)
			hits += ask(rows[i].size);
		snprintf(what, sizeof what, "size %zu at rate %llu", rows[i].size, (unsigned long long)rows[i].rate);
		expect_share(what, hits, rows[i].draws, exact_one_minus_exp((long double)rows[i].size / rows[i].rate));
	}
}

/* The probability is each block's own, whatever is asked for between. */
static void test_sizes_in_turn_keep_their_probabilities(void **state)
{
	static const size_t sizes[] = {16, 100000, 48, 3000, 1, 700000};
	uint64_t hits[COUNT(sizes)] = {0}, rounds = 300000;
	(void)state;
	random_start(99);
	sampling_start(524288);
	forget_thread();
	for (uint64_t k = 0; k < rounds; k++)
		for (size_t i = 0; i < COUNT(sizes); i++)
			hits[i] += ask(sizes[i]);
	for (size_t i = 0; i < COUNT(sizes); i++)
		expect_share("in turn", hits[i], rounds, exact_one_minus_exp((long double)sizes[i] / 524288));
}

/* A thread that lives for a single block: its first call is sampled as often as any. */
static void test_the_first_block_of_a_thread_is_no_exception(void **state)
{
	uint64_t hits = 0, threads = 300000;
	(void)state;
	random_start(7);
	sampling_start(1000);
	for (uint64_t k = 0; k < threads; k++) {
		forget_thread();
		hits += ask(300);
	}
	expect_share("first blocks", hits, threads, exact_one_minus_exp(0.3L));
}

/* Sizes around 0 never stop the countdown, and 0 bytes are never sampled (their probability is 0). */
static void test_empty_blocks_are_never_sampled(void **state)
{
	(void)state;
	random_start(3);
	sampling_start(2);
	forget_thread();
	for (int k = 0; k < 1000; k++)
		assert_false(ask(0));
}

static void test_rate_one_samples_every_block(void **state)
{
	static const size_t sizes[] = {1, 16, 0, 4096, (size_t)1 << 40, 0, 1};
	(void)state;
	random_start(3);
	sampling_start(1);
	forget_thread();
	for (int round = 0; round < 100; round++)
		for (size_t i = 0; i < COUNT(sizes); i++)
			assert_true(ask(sizes[i]));
}

static void test_rate_zero_samples_nothing(void **state)
{
	(void)state;
	random_start(3);
	sampling_start(0);
	forget_thread();
	for (int k = 0; k < 100000; k++)
		assert_false(ask((size_t)k * 100000));
}

static void test_nothing_is_sampled_while_a_sample_is_recorded(void **state)
{
	(void)state;
	random_start(3);
	sampling_start(1);
	forget_thread();
	assert_false(sampling_skip(10));
	assert_true(sampling_enter(10));
	assert_true(self.busy);
	for (int k = 0; k < 1000; k++)
		assert_false(ask(1 << 20));
	sampling_leave();
	assert_false(self.busy);
	assert_true(ask(10));
}

static void test_calls_inside_the_real_function_are_not_counted(void **state)
{
	(void)state;
	random_start(3);
	sampling_start(4096);
	forget_thread();
	while (!ask(64))
		continue;
	int64_t left = self.countdown_bytes, before = sampling_shut();
	for (int k = 0; k < 1000; k++)
		assert_false(ask(1 << 20));
	sampling_open(before);
	assert_int_equal(self.countdown_bytes, left);
}

static void test_a_request_of_more_than_the_address_space_is_harmless(void **state)
{
	static const size_t sizes[] = {SIZE_MAX, (size_t)1 << 63, SIZE_MAX / 2 + 2};
	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t hits = 0;
		random_start(5);
		sampling_start(524288);
		forget_thread();
		ask(64);
		ask(sizes[i]);
		for (int k = 0; k < 1000000; k++) /* a block or two may be sampled out of turn, no more */
			hits += ask(512);
		assert_in_range(hits, 800, 1160);
	}
}

/* Until init is through, hooks pass, and nothing of that is left when sampling starts. */
static void test_before_the_start_nothing_happens(void **state)
{
	(void)state;
	forget_thread();
	for (int k = 0; k < 1000; k++) {
		assert_false(ask(100000000));
		assert_int_equal(self.countdown_bytes, 0);
	}
	assert_int_equal(self.random, 0);
}

/* Every child of a fork draws anew; what it samples must stay unbiased from its first byte on. */
static void test_the_child_of_a_fork_samples_as_often_as_its_parent(void **state)
{
	enum { CHILDREN = 4000, BLOCKS = 40 };
	uint64_t hits = 0;
	(void)state;
	random_start(11);
	sampling_start(1000);
	forget_thread();
	for (int k = 0; k < 1000; k++)
		ask(100);
	struct self parent = self;
	for (int child = 0; child < CHILDREN; child++) {
		/* the parent goes on a little, as parents do */
		self = parent;
		for (int k = 0; k < 17; k++)
			ask(100);
		parent = self;
		shared_set_own(&house.pid, child + 1);
		random_fork_child();
		sampling_fork_child();
		for (int k = 0; k < BLOCKS; k++)
			hits += ask(100);
	}
	expect_share("children's blocks", hits, CHILDREN * BLOCKS, exact_one_minus_exp(0.1L));
}

static void test_two_children_draw_different_sequences(void **state)
{
	int64_t drawn[2][32];
	(void)state;
	random_start(11);
	sampling_start(524288);
	forget_thread();
	ask(1);
	struct self parent = self;
	for (int child = 0; child < 2; child++) {
		self = parent;
		shared_set_own(&house.pid, child + 1);
		random_fork_child();
		sampling_fork_child();
		for (int k = 0; k < 32; k++) {
			while (!ask(4096))
				continue;
			drawn[child][k] = self.countdown_bytes;
		}
	}
	assert_memory_not_equal(drawn[0], drawn[1], sizeof drawn[0]);
}

enum { THREADS = 8, THREAD_DRAWS = 200000 };

struct tally {
	uint64_t hits;
	int64_t first_distance;
};

static void *sample_in_thread(void *arg)
{
	struct tally *t = arg;
	assert_int_equal(self.countdown_bytes, 0); /* as born */
	for (int k = 0; k < THREAD_DRAWS; k++) {
		t->hits += ask(1000);
		if (k == 0)
			t->first_distance = self.countdown_bytes;
	}
	return NULL;
}

static void test_threads_are_set_up_by_their_first_call_and_draw_apart(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	struct tally tally[THREADS] = {{0}};
	uint64_t hits = 0;
	random_start(21);
	sampling_start(524288);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sample_in_thread, &tally[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		hits += tally[i].hits;
		for (int k = 0; k < i; k++)
			assert_true(tally[i].first_distance != tally[k].first_distance);
	}
	expect_share("all threads", hits, (uint64_t)THREADS * THREAD_DRAWS, exact_one_minus_exp(1000.0L / 524288));
}

/* The whole estimate, end to end: the sum of the weights of the sampled is the total of all. */
static void test_the_sum_of_weights_is_the_total(void **state)
{
	static const size_t sizes[] = {16, 4000, 100000, 2000000};
	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t draws = sizes[i] < 1000 ? 40000000 : 1000000, hits = 0;
		long double bytes = 0;
		random_start(31 + i);
		sampling_start(524288);
		forget_thread();
		struct sampling_weight w = sampling_weight(sizes[i]);
		for (uint64_t k = 0; k < draws; k++)
			if (ask(sizes[i])) {
				hits++;
				bytes += w.bytes;
			}
		long double p = exact_one_minus_exp((long double)sizes[i] / 524288);
		long double off = bytes / ((long double)draws * sizes[i]) - 1, variance = (1 - p) / (draws * p);
		if (off * off > 25 * variance + 1e-9L)
			fail_msg("size %zu: off by %.5Lf after %llu samples", sizes[i], off, (unsigned long long)hits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_the_start_nothing_happens), /* must be the first */
		cmocka_unit_test(test_the_logarithm_is_right_over_its_whole_range),
		cmocka_unit_test(test_the_logarithm_never_grows),
		cmocka_unit_test(test_one_minus_exp_is_right_from_tiny_to_huge),
		cmocka_unit_test(test_a_weight_is_one_over_the_probability),
		cmocka_unit_test(test_without_sampling_a_block_weighs_itself),
		cmocka_unit_test(test_a_block_is_sampled_with_the_probability_of_its_size),
		cmocka_unit_test(test_sizes_in_turn_keep_their_probabilities),
		cmocka_unit_test(test_the_first_block_of_a_thread_is_no_exception),
		cmocka_unit_test(test_empty_blocks_are_never_sampled),
		cmocka_unit_test(test_rate_one_samples_every_block),
		cmocka_unit_test(test_rate_zero_samples_nothing),
		cmocka_unit_test(test_nothing_is_sampled_while_a_sample_is_recorded),
		cmocka_unit_test(test_calls_inside_the_real_function_are_not_counted),
		cmocka_unit_test(test_a_request_of_more_than_the_address_space_is_harmless),
		cmocka_unit_test(test_the_child_of_a_fork_samples_as_often_as_its_parent),
		cmocka_unit_test(test_two_children_draw_different_sequences),
		cmocka_unit_test(test_threads_are_set_up_by_their_first_call_and_draw_apart),
		cmocka_unit_test(test_the_sum_of_weights_is_the_total),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
