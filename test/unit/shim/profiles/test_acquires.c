/* test_acquires.c - which function of the acquire's stack has jumped to the unlock.
 *
 * Runs in: its own process. A function begins at ...00, and is called by the one that begins 0x100 further on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/acquires.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shim/base/self.h"
#include "shim/profiles/acquires.h"

__thread struct self self; /* self.c's */

size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                   enum stack_cut *cut) /* unwind.c's */
{
	(void)known;
	*cut = CUT_NOT;
	for (size_t i = 0; i < max; i++)
		pc[i] = start.pc + i * 0x100;
	return max;
}

uintptr_t unwind_function_start(uintptr_t pc) /* learn.c's */
{
	return pc & ~(uintptr_t)0xff;
}

static struct wait_frame at(uintptr_t pc, uintptr_t sp)
{
	return (struct wait_frame){.pc = pc, .sp = sp};
}

static uintptr_t let_go(uintptr_t lock, struct wait_frame acquired, struct wait_frame released)
{
	struct acquire a = {.lock = lock};
	acquires_note(&a, &acquired);
	return acquires_function(lock, &a, released.pc, released.sp);
}

static void test_the_function_that_acquired_it_is_found_where_its_caller_seems_to_unlock(void **state)
{
	(void)state;
	assert_int_equal(let_go(1, at(0x10020, 100), at(0x10120, 200)), 0x10000);
}

static void test_of_several_the_outermost_is_certain(void **state)
{
	(void)state;
	assert_int_equal(let_go(2, at(0x20020, 100), at(0x20320, 200)), 0x20200);
}

static void test_a_function_that_unlocks_by_a_call_is_on_the_stack_already(void **state)
{
	(void)state;
	assert_int_equal(let_go(3, at(0x30020, 100), at(0x30044, 100)), 0);
	assert_int_equal(let_go(3, at(0x30020, 100), at(0x30128, 200)), 0); /* or it returned before */
	assert_int_equal(let_go(3, at(0x30020, 200), at(0x30120, 100)), 0); /* or that is a deeper call */
}

static void test_without_a_wait_the_one_function_that_did_so_before_counts(void **state)
{
	(void)state;
	struct wait_frame released = at(0x40120, 200);
	assert_int_equal(acquires_function(4, NULL, released.pc, released.sp), 0);
	let_go(4, at(0x40020, 100), released);
	assert_int_equal(acquires_function(4, NULL, released.pc, released.sp), 0x40000);
	assert_int_equal(acquires_function(5, NULL, released.pc, released.sp), 0);
	assert_int_equal(acquires_function(4, NULL, 0x40124, 200), 0);
}

static void test_of_two_that_did_so_neither_counts_without_a_wait(void **state)
{
	(void)state;
	struct acquire other = {.lock = 6, .sp = 100, .depth = 2, .pc = {0x90050, 0x60120}};
	struct wait_frame released = at(0x60120, 200);
	assert_int_equal(let_go(6, at(0x60020, 100), released), 0x60000);
	assert_int_equal(acquires_function(6, &other, released.pc, released.sp), 0x90000);
	assert_int_equal(acquires_function(6, NULL, released.pc, released.sp), 0);
	assert_int_equal(let_go(6, at(0x60020, 100), released), 0x60000);
	assert_int_equal(acquires_function(6, NULL, released.pc, released.sp), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_function_that_acquired_it_is_found_where_its_caller_seems_to_unlock),
		cmocka_unit_test(test_of_several_the_outermost_is_certain),
		cmocka_unit_test(test_a_function_that_unlocks_by_a_call_is_on_the_stack_already),
		cmocka_unit_test(test_without_a_wait_the_one_function_that_did_so_before_counts),
		cmocka_unit_test(test_of_two_that_did_so_neither_counts_without_a_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
