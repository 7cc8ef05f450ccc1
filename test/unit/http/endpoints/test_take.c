/* test_take.c - which snapshot each kind of profile is.
 *
 * Runs in: its own process. Stubs: the snapshots.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/endpoints/take.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "http/endpoints/take.h"

int snapshot_heap(struct region *r, struct heap_snapshot *s)
{
	(void)r;
	*s = (struct heap_snapshot){.time_ns = 5, .rate_bytes = 6};
	return 0;
}

int snapshot_threads(struct region *r, struct thread_snapshot *s)
{
	(void)r;
	*s = (struct thread_snapshot){.time_ns = 7};
	return -ENOMEM;
}

int snapshot_dump(struct region *r, struct dump_snapshot *s)
{
	(void)r;
	*s = (struct dump_snapshot){.time_ns = 8};
	return 0;
}

int snapshot_contention(struct region *r, enum contention_kind kind, struct contention_snapshot *s)
{
	(void)r;
	*s = (struct contention_snapshot){.time_ns = kind == CONTENTION_BLOCK ? 9 : 10};
	return 0;
}

static void test_a_snapshot_is_taken_of_the_right_kind(void **state)
{
	(void)state;
	struct region r = {0};
	struct profile_snapshot s;
	assert_int_equal(profile_take(&r, PROFILE_ALLOCS, &s), 0);
	assert_int_equal(s.kind, PROFILE_ALLOCS);
	assert_int_equal(s.heap.time_ns, 5);
	assert_true(s.mono_ns > 0);
	assert_int_equal(profile_take(&r, PROFILE_THREADCREATE, &s), -ENOMEM);
	assert_int_equal(profile_take(&r, PROFILE_GOROUTINE, &s), 0);
	assert_int_equal(s.dump.time_ns, 8);
	assert_int_equal(profile_take(&r, PROFILE_BLOCK, &s), 0);
	assert_int_equal(s.contention.time_ns, 9);
	assert_int_equal(profile_take(&r, PROFILE_MUTEX, &s), 0);
	assert_int_equal(s.contention.time_ns, 10);
	assert_int_equal(profile_take(&r, PROFILE_CPU, &s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_snapshot_is_taken_of_the_right_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
