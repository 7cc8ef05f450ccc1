/* test_stacks.c - every distinct stack once.
 *
 * Runs in: its own process, with threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/stacks.c shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/stack/stacks.h"
#include "test/unit/support/count.h"

static uint64_t place; /* modules.c's */

uint64_t modules_place_of(const uintptr_t *pc, size_t depth)
{
	(void)pc, (void)depth;
	return place;
}

static void test_equal_stacks_are_one_and_different_ones_are_not(void **state)
{
	static const struct {
		uintptr_t pc[4];
		size_t depth;
	} rows[] = {
		{{1}, 1},        {{2}, 1},
		{{1, 2}, 2},     {{2, 1}, 2},
		{{1, 2, 3}, 3},  {{1, 2, 3, 0}, 4},
		{{0}, 1},        {{0, 0}, 2},
		{{0}, 0},        {{UINTPTR_MAX}, 1},
		{{1, 2, 4}, 3},  {{0x401000}, 1},
		{{0x401001}, 1}, {{1ul << 32 | 1}, 1},
	};
	(void)state;
	struct stack *s[COUNT(rows)];
	for (size_t i = 0; i < COUNT(rows); i++) {
		s[i] = stacks_intern(rows[i].pc, rows[i].depth);
		assert_non_null(s[i]);
		assert_int_equal(s[i]->depth, rows[i].depth);
		assert_memory_equal(s[i]->pc, rows[i].pc, rows[i].depth * sizeof(uintptr_t));
		assert_null(shared_own(&s[i]->buckets));
		assert_null(s[i]->site);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(s[i], s[k]);
	}
	for (size_t i = 0; i < COUNT(rows); i++) {
		uintptr_t copy[4];
		memcpy(copy, rows[i].pc, sizeof copy);
		assert_ptr_equal(stacks_intern(copy, rows[i].depth), s[i]);
	}
}

static void test_equal_addresses_in_another_place_are_another_stack(void **state)
{
	(void)state;
	uintptr_t pc[2] = {0x7f0000001000, 0x7f0000002000};
	static const uint64_t places[] = {0, 1, 2, 65537, 65538, UINT64_C(1) << 32 | 1, UINT64_C(70000) << 32 | 70001};
	struct stack *s[COUNT(places)];
	for (size_t i = 0; i < COUNT(places); i++) {
		place = places[i];
		s[i] = stacks_intern(pc, 2);
		assert_non_null(s[i]);
		assert_true(s[i]->place == place);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(s[k], s[i]);
	}
	for (size_t i = 0; i < COUNT(places); i++) {
		place = places[i];
		assert_ptr_equal(stacks_intern(pc, 2), s[i]);
	}
	place = 0;
}

/* Of the tree below a stack: so many look-ups at most. */
static size_t height(const struct stack *s)
{
	size_t most = 0;
	for (size_t i = 0; s && i < COUNT(s->child); i++)
		most = height(shared_own(&s->child[i])) > most ? height(shared_own(&s->child[i])) : most;
	return s ? most + 1 : 0;
}

/* Addresses of real programs: few bits differ. More stacks than roots, so trees are walked. */
static void test_many_stacks_of_like_addresses_stay_apart(void **state)
{
	enum { N = 20000, DEPTH = 12 };
	(void)state;
	static struct stack *s[N];
	uintptr_t pc[DEPTH];
	for (int round = 0; round < 2; round++)
		for (uintptr_t i = 0; i < N; i++) {
			for (uintptr_t k = 0; k < DEPTH; k++)
				pc[k] = 0x555555554000 + (i >> k & 1) * 16 + k * 0x1000 + (k == 0 ? i * 4 : 0);
			struct stack *found = stacks_intern(pc, DEPTH);
			assert_non_null(found);
			if (round == 0)
				s[i] = found;
			else
				assert_ptr_equal(found, s[i]);
			assert_memory_equal(found->pc, pc, sizeof pc);
		}
	size_t deepest = 0;
	for (int i = 0; i < N; i++)
		deepest = height(s[i]) > deepest ? height(s[i]) : deepest;
	assert_in_range(deepest, 1, 9); /* of five that share a root, four on average are its children */
}

enum { THREADS = 4, SHARED = 3000 };
static struct stack *found[THREADS][SHARED];

static void *intern_all(void *arg)
{
	size_t me = (size_t)arg;
	for (size_t i = 0; i < SHARED; i++) {
		uintptr_t pc[3] = {0x7000000 + i, 0x8000000, 0x9000000};
		found[me][i] = stacks_intern(pc, 3);
	}
	return NULL;
}

static void test_threads_that_race_for_a_stack_get_the_same_one(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, intern_all, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < SHARED; i++) {
		assert_non_null(found[0][i]);
		assert_int_equal(found[0][i]->pc[0], 0x7000000 + i);
		for (int k = 1; k < THREADS; k++)
			assert_ptr_equal(found[k][i], found[0][i]);
	}
}

static void test_at_the_cap_new_stacks_are_others_and_old_ones_found(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		uintptr_t pc[100] = {0x1234};
		struct stack *old = stacks_intern(pc, 100);
		arena_set_limit(4 * arena_mapped_bytes());
		int made = 0;
		for (; made < 100000; made++) {
			pc[99] = (uintptr_t)made + 1;
			if (stacks_intern(pc, 100) == &stacks_others)
				break;
		}
		bool good = made < 100000 && shared_own(&losses.stacks_full) == 1 && stacks_others.depth == 1 &&
		            arena_is_full(ARENA_STACKS);
		pc[99] = 0;
		good &= stacks_intern(pc, 100) == old && shared_own(&losses.stacks_full) == 1;
		good &= arena_alloc(16) != NULL; /* what must be still has room */
		pc[0] = 0xfeed;
		good &= stacks_intern(pc, 1) == &stacks_others; /* a short one, too: it is full for good */
		_exit(good ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_parent_and_child_of_a_fork_both_go_on(void **state)
{
	(void)state;
	uintptr_t pc[2] = {0xabc, 0xdef};
	struct stack *s = stacks_intern(pc, 2);
	pid_t child = fork();
	int bad = stacks_intern(pc, 2) != s;
	pc[1] = 0xdead;
	bad |= !stacks_intern(pc, 2);
	if (child == 0)
		_exit(bad);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_stacks_are_one_and_different_ones_are_not),
		cmocka_unit_test(test_equal_addresses_in_another_place_are_another_stack),
		cmocka_unit_test(test_many_stacks_of_like_addresses_stay_apart),
		cmocka_unit_test(test_threads_that_race_for_a_stack_get_the_same_one),
		cmocka_unit_test(test_at_the_cap_new_stacks_are_others_and_old_ones_found),
		cmocka_unit_test(test_parent_and_child_of_a_fork_both_go_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
