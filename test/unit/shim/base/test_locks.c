/* test_locks.c - the ranks of the profiler's locks, in a debug build of sync.c: what is taken in another order traps.
 *
 * Runs in: children of its own process, one a pair of locks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROF_DEBUG
#define PPROF_DEBUG
#endif
#undef PPROF_UNIT /* all rules */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/sync.c"

static struct lock locks[LOCK_RANKS];

/* Take two locks one after the other, in a child. */
static bool may_take(enum lock_rank first, enum lock_rank second)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY), 2);
		signal(SIGILL, SIG_DFL); /* cmocka has a handler of its own */
		signal(SIGTRAP, SIG_DFL);
		self.busy = true;
		_exit(lock_take(&locks[first], first) && lock_take(&locks[second], second) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return !WIFSIGNALED(status);
}

static void test_locks_are_taken_in_the_order_of_their_rows_alone(void **state)
{
	(void)state;
	for (int a = 0; a < LOCK_RANKS; a++)
		for (int b = 0; b < LOCK_RANKS; b++)
			if (may_take((enum lock_rank)a, (enum lock_rank)b) != (a < b))
				fail_msg("%s, then %s", names[a], names[b]);
}

/* The order in which the code takes them: a row that is moved past another breaks it. */
static void test_the_rows_are_in_the_order_in_which_the_code_takes_them(void **state)
{
	static const char *const order[] = {"COMMANDS", "LEARN", "MODULES", "LIVE", "UNMARKED", "THREADS", "CONTENDED"};
	(void)state;
	assert_int_equal(LOCK_RANKS, sizeof order / sizeof *order);
	for (size_t i = 0; i < LOCK_RANKS; i++)
		assert_string_equal(names[i], order[i]);
	assert_true(may_take(LOCK_LEARN, LOCK_MODULES));     /* learn_locked asks where an address lies */
	assert_true(may_take(LOCK_LIVE, LOCK_UNMARKED));     /* live_insert of a block without a mark */
	assert_true(may_take(LOCK_THREADS, LOCK_CONTENDED)); /* a record that ends leaves its queue */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locks_are_taken_in_the_order_of_their_rows_alone),
		cmocka_unit_test(test_the_rows_are_in_the_order_in_which_the_code_takes_them),
	};
	house_start(NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
