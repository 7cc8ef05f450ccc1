/* test_house.c - a copy of the process finds out that it is one, once; who shares the memory is none.
 *
 * Runs in: its own process, and children of every kind.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/sync.c */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"

static int copies; /* atomic: calls of on_copy */
static bool was_busy_meanwhile;
static uint32_t parents_generation;

static void on_copy(void)
{
	house_fork_child();
	was_busy_meanwhile = self.busy;
	__atomic_fetch_add(&copies, 1, __ATOMIC_RELAXED);
}

static void start(void)
{
	house_start(on_copy);
	copies = 0;
	parents_generation = shared_own(&house.generation);
}

static pid_t bare_clone(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* Exit status of a child in which `looks` runs. */
static int in_copy(pid_t (*make)(void), int (*looks)(void))
{
	int status;
	pid_t child = make();
	if (child == 0)
		_exit(looks());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool wipes_pages(void)
{
	return house.mark->pid != 0;
}

static int meets_once(void)
{
	if (!house_look() || !house_look() || copies != 1)
		return 1;
	if (house_pid() != getpid() || shared_own(&house.generation) == parents_generation || !house_is_ours())
		return 2;
	return was_busy_meanwhile && !self.busy ? 0 : 3;
}

static void test_a_child_that_libc_was_not_told_of_meets_itself_at_its_first_look(void **state)
{
	(void)state;
	start();
	if (!wipes_pages())
		skip();
	assert_int_equal(in_copy(bare_clone, meets_once), 0);
	assert_int_equal(in_copy(_Fork, meets_once), 0);
	assert_int_equal(copies, 0);
	assert_int_equal(house_pid(), getpid());
}

static int has_grandchild(void)
{
	int r = meets_once();
	copies = 0;
	parents_generation = shared_own(&house.generation);
	return r ? r : 10 * in_copy(bare_clone, meets_once);
}

static void test_so_does_a_childs_child(void **state)
{
	(void)state;
	start();
	if (!wipes_pages())
		skip();
	assert_int_equal(in_copy(bare_clone, has_grandchild), 0);
}

static int hears_and_looks(void)
{
	house_hear_of_copy();
	return meets_once();
}

static int looks_and_hears(void)
{
	bool looked = house_look();
	house_hear_of_copy();
	return looked ? meets_once() : 4;
}

/* A signal handler may come before libc's fork handler, which must not undo what that one did. */
static void test_a_child_that_libc_tells_of_is_met_once_too(void **state)
{
	(void)state;
	start();
	assert_int_equal(in_copy(fork, hears_and_looks), 0);
	if (wipes_pages())
		assert_int_equal(in_copy(fork, looks_and_hears), 0);
}

static void test_a_child_of_vfork_is_no_copy(void **state)
{
	(void)state;
	start();
	int status;
	pid_t child = vfork();
	if (child == 0)
		_exit(house_look() && copies == 0 && !house_is_ours() ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(house_pid(), getpid());
}

static void on_copy_looks(void)
{
	house_fork_child();
	__atomic_fetch_add(&copies, house_look() ? 100 : 1, __ATOMIC_RELAXED);
}

static int looks(void)
{
	return house_look() && copies == 1 ? 0 : 1;
}

/* As a handler does that interrupts it. */
static void test_whoever_looks_meanwhile_does_without(void **state)
{
	(void)state;
	house_start(on_copy_looks);
	copies = 0;
	if (!wipes_pages())
		skip();
	assert_int_equal(in_copy(bare_clone, looks), 0);
}

static int holds(void)
{
	return self_hold() && copies == 1 && self.busy ? 0 : 1;
}

static void test_whoever_holds_has_looked(void **state)
{
	(void)state;
	start();
	if (!wipes_pages())
		skip();
	assert_int_equal(in_copy(bare_clone, holds), 0);
}

static void test_generations_start_again_and_none_is_0(void **state)
{
	(void)state;
	start();
	uint32_t before = shared_own(&house.generation);
	for (int i = 0; i < HOUSE_GENERATIONS; i++) {
		house_fork_child();
		assert_in_range(shared_own(&house.generation), 1, HOUSE_GENERATIONS);
		assert_true(i == HOUSE_GENERATIONS - 1 || shared_own(&house.generation) != before);
	}
	assert_int_equal(shared_own(&house.generation), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_child_that_libc_was_not_told_of_meets_itself_at_its_first_look),
		cmocka_unit_test(test_so_does_a_childs_child),
		cmocka_unit_test(test_a_child_that_libc_tells_of_is_met_once_too),
		cmocka_unit_test(test_a_child_of_vfork_is_no_copy),
		cmocka_unit_test(test_whoever_looks_meanwhile_does_without),
		cmocka_unit_test(test_whoever_holds_has_looked),
		cmocka_unit_test(test_generations_start_again_and_none_is_0),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
