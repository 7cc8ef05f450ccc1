/* test_calls.c - what the table of system calls says, and how it is looked up.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/calls.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "shim/base/os.h"
#include "shim/snapshot.h"
#include "shim/waits/calls.h"

static const long numbers[] = {
#define SYSTEM_CALL(name, shown, object, words, again, left, moves) SYS_##name,
#include "shim/waits/calls.def"
};

static bool is_listed(long nr)
{
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i] == nr)
			return true;
	return false;
}

static void test_the_calls_of_the_table_are_found_and_no_others(void **state)
{
	(void)state;
	for (long nr = -10; nr < 2000; nr++)
		assert_true(!calls_find(nr) == !is_listed(nr));
	assert_null(calls_find(INT64_MAX));
	assert_null(calls_find(INT64_MIN));
}

static void test_a_row_is_its_own_calls(void **state)
{
	(void)state;
	assert_string_equal(calls_find(SYS_futex)->shown, "futex");
	assert_int_equal(calls_find(SYS_futex)->object, DUMP_ADDRESS);
	assert_string_equal(calls_find(SYS_accept4)->shown, "accept");
	assert_int_equal(calls_find(SYS_accept4)->object, DUMP_FD);
	assert_int_equal(calls_find(SYS_wait4)->object, DUMP_PID);
	assert_int_equal(calls_find(SYS_semop)->object, DUMP_NO_OBJECT);
	assert_int_equal(calls_find(SYS_read)->words, 3);
	assert_int_equal(calls_find(SYS_sendto)->words, 6);
#ifdef SYS_io_pgetevents
	assert_int_equal(calls_find(SYS_io_pgetevents)->words, 6); /* the last is a mask of signals */
#endif
}

static void test_no_row_says_what_a_call_cannot_have(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		const struct system_call *c = calls_find(numbers[i]);
		assert_true(c->shown[0] != '\0');
		assert_in_range(c->words, 0, 6);
		assert_true(c->object == DUMP_NO_OBJECT || c->words > 0);
		assert_true(calls_left(numbers[i]) < (int)c->words);
		int again = calls_again(numbers[i], 0);
		assert_true(again < 0 || (again & ~CALLS_MILLISECONDS) < (int)c->words);
		assert_true(calls_left(numbers[i]) < 0 || again >= 0);
		assert_true(!c->moves || again == CALLS_AS_IT_IS);
		for (size_t k = 0; k < i; k++)
			assert_true(numbers[i] != numbers[k]);
	}
}

static void test_relative_time_outs_are_named_by_their_argument(void **state)
{
	(void)state;
	assert_int_equal(calls_again(SYS_nanosleep, 0), 0);
	assert_int_equal(calls_again(SYS_semtimedop, 0), 3);
	assert_int_equal(calls_again(SYS_io_getevents, 0), 4);
	assert_int_equal(calls_again(SYS_epoll_pwait, 0), 3 | CALLS_MILLISECONDS);
	assert_int_equal(calls_again(SYS_read, 0), CALLS_AS_IT_IS);
	assert_int_equal(calls_again(SYS_ppoll, 0), CALLS_AS_IT_IS); /* the kernel keeps it up to date */
	assert_int_equal(calls_again(SYS_fsync, 0), CALLS_NEVER);
	assert_int_equal(calls_again(SYS_getpid, 0), CALLS_NEVER);
	assert_int_equal(calls_again(-1, 0), CALLS_NEVER);
}

static void test_a_point_in_time_needs_no_change(void **state)
{
	(void)state;
	assert_int_equal(calls_again(SYS_clock_nanosleep, 0), 2);
	assert_int_equal(calls_again(SYS_clock_nanosleep, TIMER_ABSTIME), CALLS_AS_IT_IS);
}

static void test_a_futex_says_by_its_operation_how_it_waits(void **state)
{
	(void)state;
	assert_int_equal(calls_again(SYS_futex, FUTEX_WAIT), 3);
	assert_int_equal(calls_again(SYS_futex, FUTEX_WAIT | FUTEX_PRIVATE_FLAG), 3);
	assert_int_equal(calls_again(SYS_futex, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME), CALLS_AS_IT_IS);
	assert_int_equal(calls_again(SYS_futex, FUTEX_LOCK_PI), CALLS_AS_IT_IS);
	assert_int_equal(calls_again(SYS_futex, FUTEX_WAKE), CALLS_NEVER);
}

static void test_sleeps_alone_say_what_is_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		assert_int_equal(calls_left(numbers[i]), numbers[i] == SYS_nanosleep         ? 1
		                                         : numbers[i] == SYS_clock_nanosleep ? 3
		                                                                             : -1);
	assert_int_equal(calls_left(SYS_getpid), -1);
}

static void test_writes_and_messages_may_move_a_part(void **state)
{
	(void)state;
	static const long moving[] = {SYS_write, SYS_writev, SYS_sendto, SYS_sendmsg, SYS_recvfrom, SYS_recvmsg};
	size_t count = 0;
	for (size_t i = 0; i < sizeof moving / sizeof *moving; i++)
		assert_true(calls_moves(moving[i]));
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		count += calls_moves(numbers[i]);
	assert_int_equal(count, sizeof moving / sizeof *moving);
	assert_false(calls_moves(SYS_getpid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_calls_of_the_table_are_found_and_no_others),
		cmocka_unit_test(test_a_row_is_its_own_calls),
		cmocka_unit_test(test_no_row_says_what_a_call_cannot_have),
		cmocka_unit_test(test_relative_time_outs_are_named_by_their_argument),
		cmocka_unit_test(test_a_point_in_time_needs_no_change),
		cmocka_unit_test(test_a_futex_says_by_its_operation_how_it_waits),
		cmocka_unit_test(test_sleeps_alone_say_what_is_left),
		cmocka_unit_test(test_writes_and_messages_may_move_a_part),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
