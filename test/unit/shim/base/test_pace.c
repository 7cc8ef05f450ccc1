/* test_pace.c - work in pieces: tasks take turns, end when nobody wants them, and leave nothing behind.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/pace.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

enum { ROUNDS = 200 };

struct job {
	struct pace_task task;
	int steps, wanted;
	bool was_told;
	double sum;
	char kept[4096];
};

static void work(void *arg)
{
	struct job *j = arg;
	char own[4096];
	memset(own, j->wanted, sizeof own);
	for (; j->steps < j->wanted; j->steps++) {
		j->sum += j->steps * 0.5;
		j->was_told |= pace_sleep(0);
	}
	memcpy(j->kept, own, sizeof own); /* what was on its stack stays there */
}

static void test_tasks_take_turns_and_keep_what_they_have(void **state)
{
	struct job jobs[3] = {{.wanted = ROUNDS}, {.wanted = ROUNDS / 2}, {.wanted = 1}};
	(void)state;
	uint64_t before = arena_mapped_bytes();
	for (int i = 0; i < 3; i++)
		assert_true(pace_start(&jobs[i].task, work, &jobs[i]));
	for (int round = 1, left = 3; left; round++)
		for (int i = left = 0; i < 3; i++) {
			struct job *j = &jobs[i];
			if (j->task.is_done)
				continue;
			pace_go_on(&j->task);
			left++;
			assert_int_equal(j->steps, round <= j->wanted ? round - 1 : j->wanted);
		}
	for (int i = 0; i < 3; i++) {
		assert_true(jobs[i].task.is_done);
		assert_false(jobs[i].was_told);
		assert_true(jobs[i].sum == jobs[i].wanted * (jobs[i].wanted - 1) * 0.25);
		for (size_t k = 0; k < sizeof jobs[i].kept; k++)
			assert_int_equal(jobs[i].kept[k], (char)jobs[i].wanted);
		pace_end(&jobs[i].task);
		assert_null(jobs[i].task.stack);
	}
	assert_int_equal(arena_mapped_bytes(), before);
}

static void work_long(void *arg)
{
	struct job *j = arg;
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + 100000000;
	while (os_clock_ns(CLOCK_MONOTONIC) < until && !j->was_told) {
		j->steps++;
		j->was_told = pace();
	}
}

static void test_long_work_gives_way_by_itself(void **state)
{
	struct job j = {0};
	int turns = 0;
	(void)state;
	assert_true(pace_start(&j.task, work_long, &j));
	for (; !j.task.is_done; turns++)
		pace_go_on(&j.task);
	assert_true(turns >= 2 && !j.was_told);
	pace_end(&j.task);
}

static void test_what_nobody_wants_comes_to_its_end(void **state)
{
	struct job j = {.wanted = 1000};
	(void)state;
	assert_true(pace_start(&j.task, work, &j));
	pace_go_on(&j.task);
	assert_int_equal(j.steps, 0);
	pace_finish(&j.task);
	assert_true(j.task.is_done && j.was_told && j.steps == 1000);
	pace_end(&j.task);
	struct job fresh = {.wanted = 2};
	assert_true(pace_start(&fresh.task, work, &fresh));
	pace_finish(&fresh.task);
	assert_true(fresh.steps == 2 && fresh.was_told);
	pace_end(&fresh.task);
}

static void test_outside_of_a_task_nothing_gives_way(void **state)
{
	(void)state;
	assert_false(pace() || pace_sleep(1) || pace_is_task());
}

static void test_without_memory_there_is_no_task(void **state)
{
	struct job j = {0};
	(void)state;
	arena_set_limit(0);
	assert_false(pace_start(&j.task, work, &j));
	assert_null(j.task.stack);
	arena_set_limit(64 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tasks_take_turns_and_keep_what_they_have),
		cmocka_unit_test(test_long_work_gives_way_by_itself),
		cmocka_unit_test(test_what_nobody_wants_comes_to_its_end),
		cmocka_unit_test(test_outside_of_a_task_nothing_gives_way),
		cmocka_unit_test(test_without_memory_there_is_no_task),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
