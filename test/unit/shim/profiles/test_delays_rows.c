/* test_delays_rows.c - what hooks and snapshots rely on: no memory, a fork, rows that stay, threads that all count.
 *
 * Runs in: its own process. The clock is a number that the tests set, and a stack is a function and its caller. The
 * generator is set to a state of our own, so what has to do with chance comes out the same every time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/delays.c shim/profiles/acquires.c shim/stack/stacks.c shim/base/losses.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include "test/unit/shim/profiles/delays_made.h"

/* --- what hooks rely on ------------------------------------------------------------------------------- */

static void test_errno_is_the_programs(void **state)
{
	(void)state;
	errno = ENOENT;
	wait_at(8, 10);
	assert_int_equal(errno, ENOENT);
	cause_at(8, 10);
	assert_int_equal(errno, ENOENT);
	assert_false(self.busy);
}

static void test_what_a_handler_inside_the_profiler_sees_is_a_counted_loss(void **state)
{
	(void)state;
	shared_or_relaxed(&waits_watchers, WAITS_FOR_TRACE);
	assert_true(self_hold());
	wait_at(9, 10);
	assert_int_equal(shared_own(&losses.contention_nested), 1);
	cause_at(9, 10);
	assert_int_equal(shared_own(&losses.contention_nested), 2);
	cause_at(9, 0);
	assert_int_equal(shared_own(&losses.contention_nested), 2); /* nothing was lost */
	delays_start(0, 0);
	shared_set_own(&waits_watchers, 0);
	wait_at(9, 10);
	cause_at(9, 10);
	assert_int_equal(shared_own(&losses.contention_nested), 2);
	assert_true(self.busy);
	self_release();
	expect(CONTENTION_BLOCK, 9, 0, 0);
}

static void no_memory(void)
{
	wait_at(10, 10);
	arena_set_limit(1); /* and nothing for requests */
	while (arena_alloc(16))
		continue;
	wait_at(11, 10);
	cause_at(11, 10);
	CHECK(shared_own(&losses.stacks_full) == 2);
	wait_at(10, 10); /* what is known goes on being counted */
	CHECK(shared_own(&losses.stacks_full) == 2 && !self.busy);
	struct region r = {0};
	struct contention_snapshot s;
	CHECK(snapshot_contention(&r, CONTENTION_BLOCK, &s) == -ENOMEM);
	arena_set_limit(64 << 20);
	CHECK(snapshot_contention(&r, CONTENTION_BLOCK, &s) == 0);
	CHECK(s.rows[s.count - 1].contentions == 2 && s.rows[s.count - 1].delay_ns == 20);
	CHECK(s.rows[0].stack == &stacks_others && s.rows[0].contentions == 1 && s.rows[0].delay_ns == 10);
}

static void test_at_the_memory_cap_waits_are_counted_as_one(void **state)
{
	(void)state;
	in_child(no_memory);
}

static void test_a_wait_that_is_kept_starts_a_pending_listener_once(void **state)
{
	(void)state;
	shared_set_own(&listener_pending, true);
	listener_starts = 0;
	wait_at(5, 10);
	wait_at(5, 10);
	assert_int_equal(listener_starts, 1);
}

static void test_a_release_after_a_wait_is_known_by_where_the_lock_was_acquired(void **state)
{
	struct thread t = {.wait.frame = {.pc = 0x300020, .sp = 0x100}};
	(void)state;
	self.thread = &t;
	struct unwind_frame outside = {.pc = 0x300120, .sp = 0x200};
	delays_acquired(0x55);
	delays_caused(0x66, FUNCTION, 3, outside);
	assert_int_equal(last_via, 0);
	delays_caused(0x55, FUNCTION, 3, outside);
	assert_int_equal(last_via, 0x300000);
	assert_int_equal(t.acquire.lock, 0);
	delays_acquired(0x55);
	delays_caused(0x55, FUNCTION, 0, outside);
	assert_int_equal(t.acquire.lock, 0);
	self.thread = NULL;
}

/* The choice is made at the acquire. */
static void test_releases_after_waits_are_counted_without_bias(void **state)
{
	enum { N = 20000, FRACTION = 10 };
	struct thread t = {0};
	(void)state;
	self.thread = &t;
	delays_start(1, FRACTION);
	for (int i = 0; i < N; i++) {
		delays_acquired(0x55);
		delays_caused(0x55, FUNCTION, 3, at(31));
	}
	struct contention_row row = row_of(CONTENTION_MUTEX, 31);
	expect_near("releases", (double)row.contentions, N, (double)N * (FRACTION - 1));
	assert_int_equal(row.delay_ns, 3 * row.contentions);
	self.thread = NULL;
}

static void test_letting_go_asks_for_the_delay_and_tells_a_trace(void **state)
{
	(void)state;
	assert_int_equal(delays_lets_go(0x55, FUNCTION, at(14)), 4711);
	assert_int_equal(released, 0x55);
	assert_int_equal(traced.wakes, 0);
	shared_or_relaxed(&waits_watchers, WAITS_FOR_TRACE);
	assert_int_equal(delays_lets_go(0x66, FUNCTION, at(15)), 4711);
	assert_int_equal(released, 0x66);
	assert_int_equal(traced.wakes, 1);
	assert_int_equal(traced.object, 0x66);
	assert_int_equal(traced.function, FUNCTION);
	assert_int_equal(traced.from.pc, 0x400000 + 15);
}

/* --- rows ------------------------------------------------------------------------------------------- */

static void test_a_later_snapshot_has_the_same_rows_first(void **state)
{
	struct region r = {0};
	struct contention_snapshot before, after;
	(void)state;
	wait_at(20, 10);
	cause_at(21, 10);
	wait_at(22, 10);
	assert_int_equal(snapshot_contention(&r, CONTENTION_BLOCK, &before), 0);
	wait_at(23, 10);
	wait_at(20, 30);
	cause_at(24, 10);
	for (int kind = 0; kind < CONTENTION_KINDS; kind++) {
		assert_int_equal(snapshot_contention(&r, kind, &after), 0);
		assert_int_equal(after.count, before.count + 2);
		assert_true(after.time_ns >= before.time_ns && before.time_ns > 1600000000ull * 1000000000);
		for (size_t i = 0; i < before.count; i++) {
			assert_ptr_equal(after.rows[i].stack, before.rows[i].stack);
			if (kind == CONTENTION_BLOCK)
				assert_true(after.rows[i].delay_ns >= before.rows[i].delay_ns);
		}
	}
	expect(CONTENTION_BLOCK, 20, 2, 40);
	region_release(&r);
}

static void test_stacks_that_have_any_are_counted_on_their_side(void **state)
{
	uint64_t before[CONTENTION_KINDS], after[CONTENTION_KINDS];
	(void)state;
	snapshot_count_contention(before);
	wait_at(30, 10);
	wait_at(30, 10);
	wait_at(31, 10);
	cause_at(32, 10);
	snapshot_count_contention(after);
	assert_int_equal(after[CONTENTION_BLOCK], before[CONTENTION_BLOCK] + 2);
	assert_int_equal(after[CONTENTION_MUTEX], before[CONTENTION_MUTEX] + 1);
}

static void child_of_a_fork(void)
{
	delays_start(1000, 1000);
	CHECK(snapshot_contention_raise(CONTENTION_BLOCK, 1) >= 0 &&
	      snapshot_contention_raise(CONTENTION_MUTEX, 1) >= 0);
	wait_at(40, 10);
	cause_at(40, 10);
	pid_t child = fork();
	if (child == 0) {
		struct region r = {0};
		struct contention_snapshot s;
		uint64_t counts[CONTENTION_KINDS];
		delays_fork_child();
		snapshot_count_contention(counts);
		CHECK(counts[CONTENTION_BLOCK] == 0 && counts[CONTENTION_MUTEX] == 0);
		for (int kind = 0; kind < CONTENTION_KINDS; kind++) {
			CHECK(snapshot_contention_rate(kind) == 1000); /* whoever asked, asked the parent */
			CHECK(snapshot_contention(&r, kind, &s) == 0);
			for (size_t i = 0; i < s.count; i++)
				CHECK(s.rows[i].contentions == 0 && s.rows[i].delay_ns == 0);
		}
		wait_at(40, 2000);
		wait_at(41, 3000); /* a stack that is new: the lock is free */
		snapshot_count_contention(counts);
		CHECK(counts[CONTENTION_BLOCK] == 2 && counts[CONTENTION_MUTEX] == 0);
		CHECK(row_of(CONTENTION_BLOCK, 40).delay_ns == 2000 && row_of(CONTENTION_BLOCK, 41).contentions == 1);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(status == 0);
	CHECK(snapshot_contention_rate(CONTENTION_BLOCK) == 1);
	wait_at(42, 5);
	CHECK(row_of(CONTENTION_BLOCK, 40).delay_ns == 10 && row_of(CONTENTION_BLOCK, 42).delay_ns == 5);
}

static void test_the_child_of_a_fork_begins_at_zero_and_the_parent_goes_on(void **state)
{
	(void)state;
	in_child(child_of_a_fork);
}

/* --- threads ----------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 30000, SITES = 7 };

static void *wait_on_and_on(void *arg)
{
	for (uintptr_t i = 0; i < ROUNDS; i++) {
		uintptr_t site = 1000 + i / 1000 * SITES + (i + (uintptr_t)arg) % SITES; /* ever new ones */
		delays_waited(WAIT_pthread_mutex_lock, 90, now_ns, at(site), false);
		delays_caused(0, FUNCTION, 3, at(site));
	}
	return NULL;
}

/* A reader never sees more delay than was counted before. */
static void test_threads_and_a_reader_agree_on_every_row(void **state)
{
	pthread_t t[THREADS];
	(void)state;
	now_ns = 97;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, wait_on_and_on, (void *)i), 0);
	struct region r = {0};
	struct contention_snapshot s;
	for (int k = 0; k < 200; k++) {
		enum contention_kind kind = k % 2 ? CONTENTION_BLOCK : CONTENTION_MUTEX;
		assert_int_equal(snapshot_contention(&r, kind, &s), 0);
		for (size_t i = 0; i < s.count; i++)
			if (s.rows[i].stack->pc[1] >= 0x400000 + 1000)
				assert_true(s.rows[i].delay_ns <=
				            s.rows[i].contentions * (kind == CONTENTION_BLOCK ? 7 : 3));
		region_release(&r);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int kind = 0; kind < CONTENTION_KINDS; kind++) {
		uint64_t contentions = 0, delay_ns = 0;
		assert_int_equal(snapshot_contention(&r, kind, &s), 0);
		for (size_t i = 0; i < s.count; i++)
			if (s.rows[i].stack->pc[1] >= 0x400000 + 1000) {
				contentions += s.rows[i].contentions;
				delay_ns += s.rows[i].delay_ns;
			}
		assert_int_equal(contentions, THREADS * ROUNDS);
		assert_int_equal(delay_ns, THREADS * ROUNDS * (kind == CONTENTION_BLOCK ? 7 : 3));
		region_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_errno_is_the_programs, reset),
		cmocka_unit_test_setup(test_what_a_handler_inside_the_profiler_sees_is_a_counted_loss, reset),
		cmocka_unit_test_setup(test_at_the_memory_cap_waits_are_counted_as_one, reset),
		cmocka_unit_test_setup(test_a_wait_that_is_kept_starts_a_pending_listener_once, reset),
		cmocka_unit_test_setup(test_a_release_after_a_wait_is_known_by_where_the_lock_was_acquired, reset),
		cmocka_unit_test_setup(test_releases_after_waits_are_counted_without_bias, reset),
		cmocka_unit_test_setup(test_letting_go_asks_for_the_delay_and_tells_a_trace, reset),
		cmocka_unit_test_setup(test_a_later_snapshot_has_the_same_rows_first, reset),
		cmocka_unit_test_setup(test_stacks_that_have_any_are_counted_on_their_side, reset),
		cmocka_unit_test_setup(test_the_child_of_a_fork_begins_at_zero_and_the_parent_goes_on, reset),
		cmocka_unit_test_setup(test_threads_and_a_reader_agree_on_every_row, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
