/* test_live.c - the table of live sampled blocks, and the mask by which free knows them.
 *
 * Runs in: its own process, with threads; each way of starting the table in a child of its own. Addresses are numbers
 * here: nothing is read through them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/live.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/profiles/live.h"
#include "test/unit/support/child.h"

enum { PAGE = 4096, RATE = 524288, LIMIT = 64 << 20 };

static const void *at(uintptr_t address)
{
	return (const void *)address;
}

/* Buckets are only pointers here. */
static struct heap_bucket *bucket(uintptr_t n)
{
	return (struct heap_bucket *)(0x1000 + n * 16);
}

static int put(uintptr_t address, uintptr_t b, size_t size, struct live_info *stale)
{
	return live_insert(at(address), (struct live_info){.bucket = bucket(b), .size_bytes = size}, stale);
}

/* What free does; true: the block was a sampled one. */
static bool take(uintptr_t address, struct live_info *info)
{
	if (live_is_foreign(at(address)) || !live_may_hold(at(address)))
		return false;
	return live_remove(at(address), info);
}

static void before_start(void)
{
	struct live_info info;
	CHECK(!live_uses_marks());
	for (uintptr_t p = 0; p < 1 << 20; p += 4080)
		CHECK(!take(p, &info));
	CHECK(!live_may_hold(at(UINTPTR_MAX)));
	CHECK(!live_may_hold(NULL));
}

static void test_before_the_start_no_block_is_ours(void **state)
{
	(void)state;
	in_child(before_start);
}

static void marks_on(void)
{
	struct live_info info, stale;
	CHECK(live_start(true, RATE, LIMIT) == 0);
	CHECK(live_uses_marks());
	CHECK(live_is_marked(at(7 * PAGE)) && live_is_marked(at(7 * PAGE + 16)));
	for (uintptr_t low = 0; low < PAGE; low++) {
		bool marked = low % LIVE_MARK_ALIGN == 0 || low % LIVE_MARK_ALIGN == 16;
		CHECK(live_is_marked(at(9 * PAGE + low)) == marked);
		CHECK(live_is_foreign(at(9 * PAGE + low)) == !marked);
	}
	CHECK(put(9 * PAGE, 1, 100, &stale) == 0 && !stale.bucket);
	CHECK(live_is_foreign(at(9 * PAGE + 32))); /* a marked block leaves the mask on */
	CHECK(!take(9 * PAGE + 16, &info));
	CHECK(take(9 * PAGE, &info) && info.bucket == bucket(1) && info.size_bytes == 100);
	CHECK(!take(9 * PAGE, &info));
}

static void test_marked_blocks_are_told_by_their_address(void **state)
{
	(void)state;
	in_child(marks_on);
}

static void unmarked_blocks(void)
{
	struct live_info info, stale;
	CHECK(live_start(true, RATE, LIMIT) == 0);
	uintptr_t mask = shared_own(&live_mark_mask);
	CHECK(mask != 0);
	CHECK(put(5 * PAGE + 64, 1, 10, &stale) == 0);
	CHECK(shared_own(&live_mark_mask) == 0);
	CHECK(put(6 * PAGE + 64, 2, 20, &stale) == 0);
	CHECK(put(7 * PAGE, 3, 30, &stale) == 0);
	CHECK(put(6 * PAGE + 64, 4, 40, &stale) == 0 &&
	      stale.bucket == bucket(2)); /* once more the same: counted once */
	CHECK(take(5 * PAGE + 64, &info) && info.bucket == bucket(1));
	CHECK(shared_own(&live_mark_mask) == 0);
	CHECK(take(7 * PAGE, &info) && info.bucket == bucket(3));
	CHECK(shared_own(&live_mark_mask) == 0);
	CHECK(!live_remove(at(6 * PAGE + 128), &info));
	CHECK(shared_own(&live_mark_mask) == 0);
	CHECK(take(6 * PAGE + 64, &info) && info.bucket == bucket(4) && info.size_bytes == 40);
	CHECK(shared_own(&live_mark_mask) == mask);
}

static void test_an_unmarked_block_switches_the_mask_off_while_it_lives(void **state)
{
	(void)state;
	in_child(unmarked_blocks);
}

static void marks_off(void)
{
	struct live_info info, stale;
	CHECK(!live_uses_marks());
	CHECK(shared_own(&live_mark_mask) == 0);
	for (uintptr_t p = 1 << 20; p < (1 << 20) + 64 * 48; p += 48)
		CHECK(!live_is_foreign(at(p)) && live_is_marked(at(p)) && put(p, p, p, &stale) == 0 && !stale.bucket);
	for (uintptr_t p = 1 << 20; p < (1 << 20) + 64 * 48; p += 48)
		CHECK(take(p, &info) && info.bucket == bucket(p) && info.size_bytes == p && !take(p, &info));
	CHECK(shared_own(&live_mark_mask) == 0);
}

static void marks_off_foreign_malloc(void)
{
	CHECK(live_start(false, RATE, LIMIT) == 0);
	marks_off();
}

static void marks_off_small_rate(void)
{
	CHECK(live_start(true, 1, LIMIT) == 0);
	marks_off();
}

static void test_without_marks_every_free_asks_the_table(void **state)
{
	(void)state;
	in_child(marks_off_foreign_malloc);
	in_child(marks_off_small_rate);
}

/* Many in one slot: the slot is chosen by the page, the slots come round again. */
static void collisions(void)
{
	enum { N = 1000 };
	struct live_info info, stale;
	CHECK(live_start(false, RATE, 1 << 20) == 0); /* the smallest table */
	uintptr_t round = (live_slots.mask + 1) << live_slots.shift;
	CHECK(live_slots.mask + 1 == (1 << 20) / 8 / sizeof(void *)); /* an eighth of the cap */
	for (uintptr_t i = 0; i < N; i++)
		CHECK(put(PAGE + i * round + i % 256 * 16, i, i, &stale) == 0 && !stale.bucket);
	CHECK(!live_remove(at(PAGE + N * round), &info));
	for (uintptr_t i = 0; i < N; i += 2) /* every other, from the chain's middle */
		CHECK(take(PAGE + i * round + i % 256 * 16, &info) && info.size_bytes == i);
	for (uintptr_t i = 0; i < N; i++)
		CHECK(take(PAGE + i * round + i % 256 * 16, &info) == i % 2 &&
		      (i % 2 == 0 || info.bucket == bucket(i)));
	CHECK(!live_may_hold(at(PAGE)));
}

static void test_blocks_of_one_slot_are_kept_apart(void **state)
{
	(void)state;
	in_child(collisions);
}

static void stale_entries(void)
{
	struct live_info info, stale;
	CHECK(live_start(true, RATE, LIMIT) == 0);
	CHECK(put(3 * PAGE, 1, 11, &stale) == 0 && !stale.bucket);
	CHECK(put(3 * PAGE, 2, 22, &stale) == 0);
	CHECK(stale.bucket == bucket(1) && stale.size_bytes == 11);
	CHECK(put(3 * PAGE, 3, 33, &stale) == 0 && stale.bucket == bucket(2));
	CHECK(take(3 * PAGE, &info) && info.bucket == bucket(3) && info.size_bytes == 33);
	CHECK(!take(3 * PAGE, &info));
	CHECK(put(3 * PAGE, 4, 44, &stale) == 0 && !stale.bucket);
}

static void test_an_address_used_again_gives_the_stale_entry_back(void **state)
{
	(void)state;
	in_child(stale_entries);
}

static void no_memory(void)
{
	struct live_info info, stale;
	uintptr_t n = 0;
	CHECK(live_start(true, RATE, 1 << 20) == 0);
	arena_set_limit(arena_mapped_bytes() + (1 << 20));
	while (n < 1000000 && put((n + 1) * PAGE, n, n, &stale) == 0)
		n++;
	CHECK(n > 1000 && n < 1000000);
	CHECK(put(n * PAGE, 1, 1, &stale) == 0); /* an old address needs no memory */
	uintptr_t unmarked = (n + 2) * PAGE + 64;
	if (put(unmarked, 1, 1, &stale) < 0)
		CHECK(shared_own(&live_mark_mask) != 0 &&
		      !live_remove(at(unmarked), &info)); /* what was refused has no effect */
	for (uintptr_t i = 0; i < n; i++)
		CHECK(live_remove(at((i + 1) * PAGE), &info));
	CHECK(put(PAGE, 1, 1, &stale) == 0); /* what was taken out is used again */
}

static void test_at_the_memory_cap_blocks_are_refused_and_nothing_breaks(void **state)
{
	(void)state;
	in_child(no_memory);
}

static void no_table(void)
{
	arena_set_limit(0);
	CHECK(live_start(true, RATE, LIMIT) == -ENOMEM);
	CHECK(!live_uses_marks() && shared_own(&live_mark_mask) == UINTPTR_MAX && !live_may_hold(at(UINTPTR_MAX)) &&
	      !live_may_hold(at(PAGE)));
}

static void test_a_table_that_finds_no_memory_leaves_all_as_it_was(void **state)
{
	(void)state;
	in_child(no_table);
}

static void fork_keeps(void)
{
	struct live_info info, stale;
	CHECK(live_start(true, RATE, LIMIT) == 0);
	CHECK(put(PAGE, 1, 1, &stale) == 0 && put(2 * PAGE + 64, 2, 2, &stale) == 0);
	pid_t child = fork();
	CHECK(take(PAGE, &info) && take(2 * PAGE + 64, &info) && shared_own(&live_mark_mask) != 0);
	if (child == 0)
		_exit(0);
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void test_parent_and_child_of_a_fork_both_go_on(void **state)
{
	(void)state;
	in_child(fork_keeps);
}

/* Threads over the same slots, each with its own addresses; some of them unmarked, so the mask goes up and down. */
enum { THREADS = 4, ROUNDS = 30, BLOCKS = 200 };
static int wrong; /* atomic */

static void *churn(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	struct live_info info, stale;
	for (int round = 0; round < ROUNDS; round++) {
		for (uintptr_t i = 0; i < BLOCKS; i++) {
			uintptr_t p = (i + 1) * PAGE + me * 32 + (i % 16 ? 0 : 1 << 30);
			if (put(p, me * BLOCKS + i, p, &stale) < 0 || stale.bucket)
				__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
			/* a block of this thread that is not marked lives: its free must not pass it by */
			if (!live_is_marked(at(p)) && live_is_foreign(at(p)))
				__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		}
		for (uintptr_t i = 0; i < BLOCKS; i++) {
			uintptr_t p = (i + 1) * PAGE + me * 32 + (i % 16 ? 0 : 1 << 30);
			if (!take(p, &info) || info.bucket != bucket(me * BLOCKS + i) || info.size_bytes != p)
				__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

static void many_threads(void)
{
	pthread_t t[THREADS];
	CHECK(live_start(true, RATE, LIMIT) == 0);
	uintptr_t mask = shared_own(&live_mark_mask);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, churn, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(wrong == 0);
	CHECK(shared_own(&live_mark_mask) == mask);
	for (uintptr_t i = 0; i < BLOCKS; i++)
		CHECK(!live_may_hold(at((i + 1) * PAGE)));
}

static void test_threads_find_their_blocks_and_the_mask_comes_back(void **state)
{
	(void)state;
	in_child(many_threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_the_start_no_block_is_ours),
		cmocka_unit_test(test_marked_blocks_are_told_by_their_address),
		cmocka_unit_test(test_an_unmarked_block_switches_the_mask_off_while_it_lives),
		cmocka_unit_test(test_without_marks_every_free_asks_the_table),
		cmocka_unit_test(test_blocks_of_one_slot_are_kept_apart),
		cmocka_unit_test(test_an_address_used_again_gives_the_stale_entry_back),
		cmocka_unit_test(test_at_the_memory_cap_blocks_are_refused_and_nothing_breaks),
		cmocka_unit_test(test_a_table_that_finds_no_memory_leaves_all_as_it_was),
		cmocka_unit_test(test_parent_and_child_of_a_fork_both_go_on),
		cmocka_unit_test(test_threads_find_their_blocks_and_the_mask_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
