/* test_settle.c - who waits until all our signals have been taken, waits for a thread that is in our handler.
 *
 * Runs in: its own process. A thread that has blocked all signals and computes stands for one in our handler.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/settle.c shim/threads/tasks.c shim/base/powers.c shim/libc/clock.c shim/libc/real.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cmocka.h>

#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/waits/settle.h"
#include "shim/waits/signals.h"

static uint64_t begun;

uint64_t signals_begun(void)
{
	return begun;
}

static shared_u32 inside, is_over, may_end;

static void mask(uint64_t set)
{
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, sizeof set);
}

static void *compute(void *arg)
{
	mask(~(uint64_t)0);
	shared_store_seq_cst(&inside, 1);
	while (os_clock_ns(CLOCK_THREAD_CPUTIME_ID) < 5000000 || !shared_load_seq_cst(&may_end))
		continue;
	shared_store_seq_cst(&is_over, 1);
	mask(0);
	return arg;
}

static pthread_t begin_computing(uint32_t ends_by_itself)
{
	pthread_t thread;
	shared_store_seq_cst(&inside, 0);
	shared_store_seq_cst(&is_over, 0);
	shared_store_seq_cst(&may_end, ends_by_itself);
	assert_int_equal(0, pthread_create(&thread, NULL, compute, NULL));
	while (!shared_load_seq_cst(&inside))
		continue;
	return thread;
}

/* On a busy machine the thread may have no processor for longer than anybody waits. */
static void a_thread_in_our_handler_is_waited_for(void **state)
{
	(void)state;
	bool was_over = false;
	begun = OS_SIGNAL_BIT(SIGNALS_OURS);
	for (int i = 0; i < 20 && !was_over; i++) {
		pthread_t thread = begin_computing(1);
		settle_signals();
		was_over = shared_load_seq_cst(&is_over);
		pthread_join(thread, NULL);
	}
	assert_true(was_over);
}

static void nobody_waits_if_no_signal_was_ever_sent(void **state)
{
	(void)state;
	begun = 0;
	pthread_t thread = begin_computing(0);
	settle_signals();
	assert_int_equal(0, shared_load_seq_cst(&is_over));
	shared_store_seq_cst(&may_end, 1);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_in_our_handler_is_waited_for),
		cmocka_unit_test(nobody_waits_if_no_signal_was_ever_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
