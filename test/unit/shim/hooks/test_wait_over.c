/* test_wait_over.c - who is told of a wait that is over.
 *
 * Runs in: its own process. The profile and the trace are stubs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/hooks/wait_over.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shim/hooks/wait.h"

shared_u32 waits_watchers;

enum wait_view waits_view(unsigned call)
{
	return call == WAIT_poll ? VIEW_SELECT : VIEW_SYNC;
}

uint64_t clock_ns(int clock)
{
	assert_int_equal(clock, CLOCK_MONOTONIC);
	return 5000;
}

static struct {
	int times;
	bool alone;
	unsigned call;
	uint64_t since_ns, now_ns;
	uintptr_t pc;
} counted;

void delays_waited(unsigned call, uint64_t since_ns, uint64_t now_ns, struct unwind_frame from, bool alone)
{
	counted = (__typeof__(counted)){counted.times + 1, alone, call, since_ns, now_ns, from.pc};
}

static struct {
	int times;
	enum wait_view view;
	unsigned call;
	uintptr_t object, pc;
	uint64_t since_ns, end_ns;
} traced;

void trace_waited(enum wait_view view, unsigned call, uintptr_t object, uint64_t since_ns, uint64_t end_ns,
                  struct unwind_frame from)
{
	traced = (__typeof__(traced)){traced.times + 1, view, call, object, from.pc, since_ns, end_ns};
}

static int begin(void **state)
{
	(void)state;
	counted = (__typeof__(counted)){0};
	traced = (__typeof__(traced)){0};
	shared_set_own(&waits_watchers, WAITS_FOR_BLOCK | WAITS_FOR_TRACE);
	return 0;
}

static const struct unwind_frame here = {.pc = 0x400000};

static void test_a_wait_for_another_thread_is_counted_and_traced(void **state)
{
	(void)state;
	hook_over_at(WAIT_pthread_mutex_lock | HOOK_OF_THREADS, 0xabc, 2000, here);
	assert_int_equal(counted.times, 1);
	assert_int_equal(counted.call, WAIT_pthread_mutex_lock);
	assert_int_equal(counted.since_ns, 2000);
	assert_int_equal(counted.now_ns, 5000);
	assert_int_equal(counted.pc, here.pc);
	assert_false(counted.alone);
	assert_int_equal(traced.times, 1);
	assert_int_equal(traced.view, VIEW_SYNC);
	assert_int_equal(traced.call, WAIT_pthread_mutex_lock);
	assert_int_equal(traced.object, 0xabc);
}

static void test_a_wait_for_no_other_thread_is_traced_alone(void **state)
{
	(void)state;
	hook_over_at(WAIT_poll, 0xdef, 2000, here);
	assert_int_equal(counted.times, 0);
	assert_int_equal(traced.times, 1);
	assert_int_equal(traced.view, VIEW_SELECT);
	assert_int_equal(traced.call, WAIT_poll);
	assert_int_equal(traced.object, 0xdef);
	assert_int_equal(traced.since_ns, 2000);
	assert_int_equal(traced.end_ns, 5000);
	assert_int_equal(traced.pc, here.pc);
}

static void test_without_a_trace_a_wait_is_counted_alone(void **state)
{
	(void)state;
	shared_set_own(&waits_watchers, WAITS_FOR_BLOCK);
	hook_over_at(WAIT_pthread_mutex_lock | HOOK_OF_THREADS, 0xabc, 2000, here);
	assert_int_equal(counted.times, 1);
	assert_int_equal(traced.times, 0);
}

static void test_a_call_that_handlers_make_is_counted_alone_with_signals_blocked(void **state)
{
	(void)state;
	hook_over_at(WAIT_sem_wait | HOOK_OF_THREADS | HOOK_OF_HANDLERS, 0xabc, 2000, here);
	assert_true(counted.alone);
}

/* syscall() has one row for all calls: a futex is a wait for threads, another is a system call. */
static void test_a_bare_system_call_is_traced_as_one(void **state)
{
	(void)state;
	hook_over_at(WAIT_syscall | HOOK_AS_SYSCALL, 3, 2000, here);
	assert_int_equal(traced.view, VIEW_SYSCALL);
	assert_int_equal(traced.call, WAIT_syscall);
	hook_over_at(WAIT_syscall | HOOK_OF_THREADS | HOOK_OF_HANDLERS, 3, 2000, here);
	assert_int_equal(traced.view, VIEW_SYNC);
}

static __attribute__((noinline)) uintptr_t hooked(void)
{
	hook_over(WAIT_poll, 0, 2000, __builtin_frame_address(0));
	return (uintptr_t)__builtin_return_address(0);
}

static void test_a_hook_is_told_by_its_frame(void **state)
{
	(void)state;
	uintptr_t back = hooked();
	assert_int_equal(traced.pc, back - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_wait_for_another_thread_is_counted_and_traced, begin),
		cmocka_unit_test_setup(test_a_wait_for_no_other_thread_is_traced_alone, begin),
		cmocka_unit_test_setup(test_without_a_trace_a_wait_is_counted_alone, begin),
		cmocka_unit_test_setup(test_a_call_that_handlers_make_is_counted_alone_with_signals_blocked, begin),
		cmocka_unit_test_setup(test_a_bare_system_call_is_traced_as_one, begin),
		cmocka_unit_test_setup(test_a_hook_is_told_by_its_frame, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
