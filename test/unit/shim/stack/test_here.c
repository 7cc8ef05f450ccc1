/* test_here.c - the walk's frames with the function in front of them; how deep, on a small stack too.
 *
 * Runs in: its own process; the unwinder is a stub with as many frames as it is asked for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/here.c shim/stack/stacks.c shim/base/losses.c shim/base/text.c shim/profiles/sampling.c
 * links: shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/modules.h"
#include "shim/base/self.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"

uint64_t modules_place_of(const uintptr_t *pc, size_t depth) /* modules.c's */
{
	(void)pc, (void)depth;
	return 3;
}

static const struct stack_bounds *walked;
size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *stack, uintptr_t *pc, size_t max,
                   enum stack_cut *cut) /* unwind.c's */
{
	*cut = CUT_NOT;
	size_t n = 0;
	walked = stack;
	while (n < max && n < start.fp)
		pc[n] = start.pc + n, n++;
	return n;
}

static struct unwind_frame frames(uintptr_t pc, size_t count)
{
	return (struct unwind_frame){.pc = pc, .fp = count};
}

static void test_the_function_is_the_leaf_and_the_walk_goes_on_from_there(void **state)
{
	(void)state;
	stack_here_start(8);
	const struct stack *s = stack_here(0x1000, frames(0x400000, 3));
	assert_int_equal(s->depth, 4);
	assert_int_equal(s->place, 3);
	assert_int_equal(s->pc[0], 0x1000);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(s->pc[i + 1], 0x400000 + i);
	assert_ptr_equal(walked, &self.stack);
	assert_ptr_equal(stack_here(0x1000, frames(0x400000, 3)), s); /* once for all */
	assert_ptr_not_equal(stack_here(0x2000, frames(0x400000, 3)), s);
}

static void test_without_a_function_the_stack_is_the_walks(void **state)
{
	(void)state;
	stack_here_start(8);
	const struct stack *s = stack_here(0, frames(0x500000, 3));
	assert_int_equal(s->depth, 3);
	assert_int_equal(s->pc[0], 0x500000);
	assert_int_equal(stack_here(0, frames(0x500000, 0))->depth, 0);
}

static void test_so_many_frames_are_kept_as_the_setting_says_and_never_more_than_512(void **state)
{
	static const size_t rows[][2] = {{1, 1}, {8, 8}, {128, 128}, {129, 129}, {512, 512}, {513, 512}, {100000, 512}};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stack_here_start(rows[i][0]);
		assert_int_equal(stack_here(0, frames(0x600000, 5000))->depth, rows[i][1]);
		assert_int_equal(stack_here(0x1000, frames(0x600000, 5000))->depth,
		                 rows[i][1] + 1); /* the function comes on top */
	}
}

/* A stack of 16 KiB without a page to spare, as coroutines have it; called with some of it in use already. */
static unsigned depth_at_the_end;
static void *on_a_small_stack(void *arg)
{
	volatile char used[10000];
	used[0] = used[9999] = 1;
	depth_at_the_end = stack_here(0, frames(0x700000, 5000))->depth;
	return arg;
}

static void test_on_a_small_stack_all_is_seen_and_nothing_is_touched_that_is_none_of_it(void **state)
{
	enum { SIZE = 16384, PAGE = 4096 };
	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* they need more themselves */
#endif
	char *at = mmap(NULL, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + PAGE, SIZE, PROT_READ | PROT_WRITE), 0);
	stack_here_start(512);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	assert_int_equal(pthread_attr_setstack(&attr, at + PAGE, SIZE), 0);
	pthread_t t;
	assert_int_equal(pthread_create(&t, &attr, on_a_small_stack, NULL), 0);
	pthread_join(t, NULL);
	munmap(at, SIZE + 2 * PAGE);
	assert_int_equal(depth_at_the_end, 512);
}

static void test_at_the_memory_cap_a_new_stack_is_others_and_a_known_one_is_found(void **state)
{
	(void)state;
	stack_here_start(8);
	const struct stack *known = stack_here(1, frames(0x800000, 2));
	pid_t child = fork();
	if (child == 0) {
		arena_set_limit(0);
		while (arena_alloc(16))
			continue;
		_exit(stack_here(2, frames(0x800000, 2)) != &stacks_others ||
		      stack_here(1, frames(0x800000, 2)) != known);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_function_is_the_leaf_and_the_walk_goes_on_from_there),
		cmocka_unit_test(test_without_a_function_the_stack_is_the_walks),
		cmocka_unit_test(test_so_many_frames_are_kept_as_the_setting_says_and_never_more_than_512),
		cmocka_unit_test(test_on_a_small_stack_all_is_seen_and_nothing_is_touched_that_is_none_of_it),
		cmocka_unit_test(test_at_the_memory_cap_a_new_stack_is_others_and_a_known_one_is_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
