/* test_arena.c - our own memory: zeroed, aligned, apart, capped, given back.
 *
 * Runs in: its own process, with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

enum { MIB = 1 << 20 };

static bool is_zero(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static const size_t sizes[] = {1, 15, 16, 17, 100, 4095, 4096, 4097, 65536 - 32, 65536, 262144, 262145, 1000003};

static void test_arena_memory_is_zeroed_aligned_and_apart(void **state)
{
	(void)state;
	arena_set_limit(64 * MIB);
	unsigned char *p[3 * COUNT(sizes)];
	for (size_t i = 0; i < COUNT(p); i++) {
		size_t n = sizes[i % COUNT(sizes)];
		p[i] = arena_alloc(n);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		assert_true(is_zero(p[i], n));
		memset(p[i], (int)i + 1, n);
	}
	for (size_t i = 0; i < COUNT(p); i++)
		for (size_t k = 0; k < sizes[i % COUNT(sizes)]; k++)
			if (p[i][k] != i + 1)
				fail_msg("piece %zu was written over at %zu", i, k);
}

static void test_region_memory_is_zeroed_aligned_and_goes_back_whole(void **state)
{
	(void)state;
	uint64_t before = arena_mapped_bytes();
	struct region r = {0};
	for (int round = 0; round < 3; round++) {
		unsigned char *p[3 * COUNT(sizes)];
		for (size_t i = 0; i < COUNT(p); i++) {
			size_t n = sizes[i % COUNT(sizes)];
			p[i] = region_alloc(&r, n);
			assert_non_null(p[i]);
			assert_int_equal((uintptr_t)p[i] % 16, 0);
			assert_true(is_zero(p[i], n));
			memset(p[i], (int)i + 1, n);
		}
		for (size_t i = 0; i < COUNT(p); i++)
			for (size_t k = 0; k < sizes[i % COUNT(sizes)]; k++)
				if (p[i][k] != i + 1)
					fail_msg("piece %zu was written over at %zu", i, k);
		assert_true(arena_mapped_bytes() > before);
		region_release(&r);
		assert_null(r.chunks);
		assert_int_equal(arena_mapped_bytes(), before);
	}
	region_release(&r); /* an empty one */
}

static void test_sizes_that_overflow_are_refused(void **state)
{
	static const size_t rows[] = {SIZE_MAX,         SIZE_MAX - 15, SIZE_MAX - 4096,
	                              SIZE_MAX / 2 + 1, SIZE_MAX / 2,  (size_t)1 << 48};
	(void)state;
	uint64_t before = arena_mapped_bytes();
	struct region r = {0};
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_null(arena_alloc(rows[i]));
		assert_null(region_alloc(&r, rows[i]));
	}
	assert_int_equal(arena_mapped_bytes(), before);
	region_release(&r);
}

static void fill_arena(void)
{
	arena_set_limit(16 * MIB); /* 8 for what lasts, 1 for rings, 7 for requests */
	int stacks = 0, blocks = 0, own = 0;
	while (arena_alloc_in(ARENA_STACKS, 10000))
		CHECK(++stacks < 1000);
	CHECK(stacks >= 650 && arena_is_full(ARENA_STACKS) && !arena_is_full(ARENA_BLOCKS));
	while (arena_alloc_in(ARENA_BLOCKS, 10000))
		CHECK(++blocks < 100);
	CHECK(blocks >= 25 && arena_is_full(ARENA_BLOCKS) && !arena_is_full(ARENA_OWN));
	while (arena_alloc(10000))
		CHECK(++own < 100);
	CHECK(own >= 25 && arena_mapped_bytes() <= 8 * MIB);
	uint64_t full = arena_mapped_bytes();
	CHECK(!arena_alloc(300000) && !arena_alloc_in(ARENA_STACKS, 16) && arena_is_full(ARENA_STACKS));
	CHECK(arena_mapped_bytes() == full); /* a refusal is not charged */
}

static void test_what_matters_least_is_refused_first(void **state)
{
	(void)state;
	in_child(fill_arena);
}

/* The shares of others stay theirs, whatever is done meanwhile. */
static void fill_each_pot(void)
{
	arena_set_limit(16 * MIB);
	struct region r = {0};
	while (region_alloc(&r, 100000))
		continue;
	uint64_t requests = arena_mapped_bytes();
	CHECK(requests >= 5 * MIB && requests <= 7 * MIB);
	CHECK(arena_alloc_in(ARENA_RINGS, MIB / 2) && arena_alloc_in(ARENA_RINGS, MIB / 2) &&
	      !arena_alloc_in(ARENA_RINGS, 4096));
	CHECK(arena_alloc_in(ARENA_STACKS, 6 * MIB) && !arena_alloc_in(ARENA_STACKS, 2 * MIB));
	CHECK(arena_mapped_bytes() == requests + 7 * MIB);
	region_release(&r);
	CHECK(arena_mapped_bytes() == 7 * MIB);
	CHECK(region_alloc(&r, 5 * MIB));
	region_release(&r);
}

static void test_no_pot_eats_another(void **state)
{
	(void)state;
	in_child(fill_each_pot);
}

static void fill_with_a_large_region(void)
{
	arena_set_limit(64 * MIB);
	struct region large = {0}, small[50] = {{0}};
	while (region_alloc(&large, 100000))
		continue;
	for (size_t i = 0; i < COUNT(small); i++)
		CHECK(region_alloc(&small[i], 60000));
	CHECK(!region_alloc(&large, 100000) && arena_mapped_bytes() <= 28 * MIB);
	for (size_t i = 0; i < COUNT(small); i++)
		region_release(&small[i]);
	region_release(&large);
	CHECK(arena_mapped_bytes() == 0);
}

static void test_small_requests_have_room_beside_a_large_one(void **state)
{
	(void)state;
	in_child(fill_with_a_large_region);
}

static void be_small(void)
{
	arena_set_limit(MIB);
	arena_set_least_for_requests(12 * MIB);
	struct region r = {0};
	CHECK(region_alloc(&r, 8 * MIB) && arena_requests_bytes() == 12 * MIB && arena_rings_bytes() == MIB);
	region_release(&r);
	arena_set_limit(100 * MIB);
	CHECK(arena_requests_bytes() == 46 * MIB && arena_rings_bytes() == 4 * MIB);
}

static void test_requests_have_enough_however_small_the_cap(void **state)
{
	(void)state;
	in_child(be_small);
}

/* Address space may be short for a moment: the kernel is asked again, but not every time. */
static void run_out_of_address_space(void)
{
	struct rlimit none = {0, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
	arena_set_limit(64 * MIB);
	CHECK(setrlimit(RLIMIT_AS, &none) == 0);
	while (arena_alloc_in(ARENA_STACKS, 16))
		continue;
	CHECK(arena_mapped_bytes() < MIB && arena_is_full(ARENA_STACKS));
	CHECK(setrlimit(RLIMIT_AS, &all) == 0);
	int asked = 0;
	while (arena_is_full(ARENA_STACKS))
		CHECK(++asked < 10000);
	CHECK(asked > 100 && arena_alloc_in(ARENA_STACKS, 16));
}

static void test_a_kernel_without_memory_is_asked_again_now_and_then(void **state)
{
	(void)state;
	in_child(run_out_of_address_space);
}

static void charge_and_uncharge(void)
{
	arena_set_limit(64 * MIB);
	uint64_t before = arena_mapped_bytes();
	CHECK(arena_charge(MIB) == 0 && arena_charge_request(MIB) == 0);
	CHECK(arena_mapped_bytes() == before + 2 * MIB);
	CHECK(arena_charge(64 * MIB) == -ENOMEM && arena_charge_request(64 * MIB) == -ENOMEM);
	CHECK(arena_mapped_bytes() == before + 2 * MIB);
	arena_uncharge(MIB);
	arena_uncharge_request(MIB);
	CHECK(arena_mapped_bytes() == before);
}

static void test_what_callers_map_themselves_is_counted(void **state)
{
	(void)state;
	in_child(charge_and_uncharge);
}

static void small_pieces_after_a_large_one(void)
{
	char *a = arena_alloc(16);
	char *large = arena_alloc(MIB);
	char *b = arena_alloc(16);
	CHECK(a && large && b);
	CHECK(b == a + 16); /* the current chunk stays */
}

static void test_a_large_piece_does_not_waste_the_current_chunk(void **state)
{
	(void)state;
	in_child(small_pieces_after_a_large_one);
}

enum { THREADS = 4, PIECES = 3000, PIECE = 48 };

static void *take_pieces(void *arg)
{
	unsigned char **p = arg;
	struct region r = {0};
	for (int i = 0; i < PIECES; i++) {
		p[i] = arena_alloc(PIECE);
		if (p[i])
			memset(p[i], (int)((uintptr_t)arg >> 4 & 0xff), PIECE);
#ifndef __SANITIZE_THREAD__ /* which does not see that what we unmap is another thread's next */
		if (i % 100 == 0 && !region_alloc(&r, 70000))
			return NULL;
		if (i % 500 == 0)
			region_release(&r);
#endif
	}
	region_release(&r);
	return arg;
}

static void test_threads_never_get_the_same_piece(void **state)
{
	(void)state;
	static _Alignas(16) unsigned char *p[THREADS][PIECES];
	pthread_t t[THREADS];
	arena_set_limit(64 * MIB);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, take_pieces, p[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(t[i], &result);
		assert_non_null(result);
	}
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < PIECES; k++) {
			assert_non_null(p[i][k]);
			for (int b = 0; b < PIECE; b++)
				if (p[i][k][b] != ((uintptr_t)p[i] >> 4 & 0xff))
					fail_msg("thread %d's piece %d was written over", i, k);
		}
}

/* --- going back in a region ------------------------------------------------------------------------- */

static void test_a_region_goes_back_to_a_mark(void **state)
{
	(void)state;
	struct region r = {0};
	unsigned char *kept = region_alloc(&r, 100);
	memset(kept, 7, 100);
	uint64_t before = arena_mapped_bytes();
	struct region_mark m = region_mark(&r);
	unsigned char *first = NULL;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 3 * COUNT(sizes); i++) {
			unsigned char *p = region_alloc(&r, sizes[i % COUNT(sizes)]);
			assert_non_null(p);
			assert_true(is_zero(p, sizes[i % COUNT(sizes)])); /* what was given back is zero again */
			memset(p, 0xaa, sizes[i % COUNT(sizes)]);
			first = round || i ? first : p;
			assert_true(round == 0 || i || p == first);
		}
		assert_true(arena_mapped_bytes() > before);
		region_rewind(&r, m);
		assert_int_equal(arena_mapped_bytes(), before);
		for (size_t i = 0; i < 100; i++)
			assert_int_equal(kept[i], 7);
	}
	region_rewind(&r, m); /* nothing since */
	assert_ptr_equal(region_alloc(&r, 1), first);
	region_release(&r);
}

static void test_a_mark_in_an_empty_region_goes_back_to_the_beginning(void **state)
{
	(void)state;
	uint64_t before = arena_mapped_bytes();
	struct region r = {0};
	struct region_mark m = region_mark(&r);
	region_rewind(&r, m);
	assert_null(r.chunks);
	for (int i = 0; i < 10; i++)
		assert_non_null(region_alloc(&r, 60000));
	region_rewind(&r, m);
	assert_null(r.chunks);
	assert_int_equal(arena_mapped_bytes(), before);
	assert_non_null(region_alloc(&r, 1));
	region_release(&r);
}

static void test_marks_nest(void **state)
{
	enum { DEPTH = 40 };
	(void)state;
	struct region r = {0};
	struct region_mark mark[DEPTH];
	unsigned char *p[DEPTH];
	for (int i = 0; i < DEPTH; i++) {
		mark[i] = region_mark(&r);
		p[i] = region_alloc(&r, (size_t)i * 1000 + 1);
		assert_non_null(p[i]);
		memset(p[i], i + 1, (size_t)i * 1000 + 1);
	}
	for (int i = DEPTH - 1; i >= 0; i -= 1 + i % 3) {
		region_rewind(&r, mark[i]);
		for (int k = 0; k < i; k++)
			for (size_t b = 0; b <= (size_t)k * 1000; b++)
				assert_int_equal(p[k][b], k + 1);
		unsigned char *again = region_alloc(&r, (size_t)i * 1000 + 1);
		assert_true(again && is_zero(again, (size_t)i * 1000 + 1));
		memset(again, 0xbb, (size_t)i * 1000 + 1);
		region_rewind(&r, mark[i]);
	}
	region_release(&r);
}

static void rewind_at_the_cap(void)
{
	struct region r = {0};
	arena_set_limit(arena_mapped_bytes() + MIB);
	CHECK(region_alloc(&r, 1000));
	struct region_mark m = region_mark(&r);
	for (int round = 0; round < 5; round++) {
		int pieces = 0;
		while (region_alloc(&r, 50000))
			pieces++;
		CHECK(pieces >= 10);
		region_rewind(&r, m);
	}
	CHECK(region_alloc(&r, MIB / 2));
	region_release(&r);
}

static void test_what_was_rewound_can_be_had_again_at_the_cap(void **state)
{
	(void)state;
	in_child(rewind_at_the_cap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_matters_least_is_refused_first), /* these first: in children of a process
	                                                                       that has nothing yet */
		cmocka_unit_test(test_no_pot_eats_another),
		cmocka_unit_test(test_small_requests_have_room_beside_a_large_one),
		cmocka_unit_test(test_requests_have_enough_however_small_the_cap),
		cmocka_unit_test(test_a_kernel_without_memory_is_asked_again_now_and_then),
		cmocka_unit_test(test_arena_memory_is_zeroed_aligned_and_apart),
		cmocka_unit_test(test_region_memory_is_zeroed_aligned_and_goes_back_whole),
		cmocka_unit_test(test_sizes_that_overflow_are_refused),
		cmocka_unit_test(test_what_callers_map_themselves_is_counted),
		cmocka_unit_test(test_a_large_piece_does_not_waste_the_current_chunk),
		cmocka_unit_test(test_threads_never_get_the_same_piece),
		cmocka_unit_test(test_a_region_goes_back_to_a_mark),
		cmocka_unit_test(test_a_mark_in_an_empty_region_goes_back_to_the_beginning),
		cmocka_unit_test(test_marks_nest),
		cmocka_unit_test(test_what_was_rewound_can_be_had_again_at_the_cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
