/* test_delays.c - which waits are kept and what they stand for; rates that requests raise; rows.
 *
 * Runs in: its own process. The clock is a number that the tests set, and a stack is a function and its caller. The
 * generator is set to a state of our own, so what has to do with chance comes out the same every time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/delays.c shim/stack/stacks.c shim/base/losses.c shim/base/text.c shim/base/arena.c
 * links: shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/profiles/delays.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/self.h"
#include "shim/base/random.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/waits.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static uint64_t now_ns;      /* atomic */
uint64_t clock_ns(int clock) /* clock.c's */
{
	return clock == CLOCK_MONOTONIC ? __atomic_load_n(&now_ns, __ATOMIC_RELAXED) : 0;
}

shared_bool listener_pending; /* listener.c's */
static int listener_starts;
void listener_start_pending(void)
{
	shared_set_own(&listener_pending, false);
	listener_starts++;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from) /* here.c's */
{
	const uintptr_t pc[] = {function, from.pc};
	assert_true(self.busy);
	return stacks_intern(pc, COUNT(pc));
}

shared_u32 waits_watchers;
void waits_watch(uint32_t watcher, bool on) /* waits.c's, these two */
{
	shared_set_own(&waits_watchers,
	               on ? shared_own(&waits_watchers) | watcher : shared_own(&waits_watchers) & ~watcher);
}

uintptr_t waits_function(unsigned call)
{
	return 0x1000 + call;
}

static struct {
	int wakes;
	uintptr_t object, function;
	struct unwind_frame from;
} traced;

void trace_wakes(uintptr_t object, uintptr_t function, struct unwind_frame from)
{
	traced = (__typeof__(traced)){traced.wakes + 1, object, function, from}; /* trace_events.c's */
}

static uintptr_t released;
uint64_t queues_release(uintptr_t lock) /* queues.c's */
{
	released = lock;
	return 4711;
}

/* --- helpers ----------------------------------------------------------------------------------- */

static struct unwind_frame at(uintptr_t site)
{
	return (struct unwind_frame){.pc = 0x400000 + site};
}

static void wait_at(uintptr_t site, uint64_t ns)
{
	now_ns = 1000000 + ns;
	delays_waited(WAIT_pthread_mutex_lock, 1000000, now_ns, at(site), false);
}

enum { FUNCTION = 0x7000 };
static void cause_at(uintptr_t site, uint64_t ns)
{
	delays_caused(FUNCTION, ns, at(site));
}

/* The row of a site; its counters are 0 when there is none. */
static struct contention_row row_of(enum contention_kind kind, uintptr_t site)
{
	struct region r = {0};
	struct contention_snapshot s;
	struct contention_row found = {0};
	int rows = 0;
	assert_int_equal(snapshot_contention(&r, kind, &s), 0);
	for (size_t i = 0; i < s.count; i++)
		if (s.rows[i].stack->pc[1] == 0x400000 + site) {
			uintptr_t leaf = s.rows[i].stack->pc[0];
			if (leaf == (kind == CONTENTION_BLOCK ? 0x1000 + WAIT_pthread_mutex_lock : FUNCTION))
				found = s.rows[i], rows++;
			else
				assert_true(s.rows[i].contentions == 0 &&
				            s.rows[i].delay_ns == 0); /* the other side's */
		}
	assert_true(rows <= 1);
	region_release(&r);
	return found;
}

static void expect(enum contention_kind kind, uintptr_t site, uint64_t contentions, uint64_t delay_ns)
{
	struct contention_row row = row_of(kind, site);
	assert_int_equal(row.contentions, contentions);
	assert_int_equal(row.delay_ns, delay_ns);
}

/* Off by at most four standard errors, the error being the root of `variance`? */
static void expect_near(const char *what, double got, double want, double variance)
{
	double off = got - want;
	if (off * off > 16 * variance)
		fail_msg("%s: %g, not %g; four standard errors are the root of %g", what, got, want, 16 * variance);
}

static int reset(void **state)
{
	(void)state;
	random_start(1);
	delays_start(1, 1);
	self = (struct self){.random = 20240229};
	memset(&losses, 0, sizeof losses);
	memset(&traced, 0, sizeof traced);
	shared_and_seq_cst(&waits_watchers, ~(uint32_t)WAITS_FOR_TRACE);
	return 0;
}

/* --- waits ---------------------------------------------------------------------------------------- */

static void test_at_rate_one_every_wait_is_counted_with_its_delay(void **state)
{
	(void)state;
	for (uint64_t ns = 1; ns <= 100; ns++)
		wait_at(1, ns);
	expect(CONTENTION_BLOCK, 1, 100, 5050);
	expect(CONTENTION_MUTEX, 1, 0, 0);
}

static void test_waits_of_at_least_the_rate_are_counted_exactly(void **state)
{
	static const uint64_t delays[] = {1000, 1001, 5000, 123456789, UINT64_MAX / 4};
	uint64_t sum = 0;
	(void)state;
	delays_start(1000, 1);
	for (size_t i = 0; i < COUNT(delays); i++) {
		wait_at(2, delays[i]);
		sum += delays[i];
		expect(CONTENTION_BLOCK, 2, i + 1, sum);
	}
}

static void test_a_wait_that_the_clock_does_not_see_is_one_nanosecond(void **state)
{
	(void)state;
	wait_at(3, 0);
	now_ns = 100;
	delays_waited(WAIT_pthread_mutex_lock, 101, now_ns, at(3), false); /* clocks of two processors */
	expect(CONTENTION_BLOCK, 3, 2, 2);
}

static void test_shorter_waits_are_kept_without_bias_for_delay_and_count(void **state)
{
	static const struct {
		uint64_t rate, delay_ns;
	} rows[] = {{1000, 1},   {1000, 10},  {1000, 500},
	            {1000, 999}, {10000, 50}, {10000, 3333},
	            {7, 5},      {2, 1},      {1ull << 40, 1ull << 36}};
	enum { N = 300000 };
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uintptr_t site = 100 + i;
		double rate = (double)rows[i].rate, p = (double)rows[i].delay_ns / rate;
		delays_start(rows[i].rate, 1);
		for (int k = 0; k < N; k++)
			wait_at(site, rows[i].delay_ns);
		struct contention_row row = row_of(CONTENTION_BLOCK, site);
		expect_near("delay", (double)row.delay_ns, N * (double)rows[i].delay_ns, N * rate * rate * p * (1 - p));
		expect_near("count", (double)row.contentions, N, N * (1 - p) / p);
		assert_int_equal(row.delay_ns % rows[i].rate, 0); /* each stands for a rate */
	}
}

static void test_waits_of_all_lengths_together_are_kept_without_bias(void **state)
{
	enum { N = 300000, RATE = 1000 };
	double delay = 0, delay_variance = 0, count_variance = 0;
	uint64_t random = 88172645463325252u;
	(void)state;
	delays_start(RATE, 1);
	for (int k = 0; k < N; k++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		uint64_t ns = 1 + random % 3000;
		double p = ns < RATE ? (double)ns / RATE : 1;
		wait_at(4, ns);
		delay += (double)ns;
		delay_variance += p < 1 ? RATE * (double)RATE * p * (1 - p) : 0;
		count_variance += (1 - p) / p;
	}
	struct contention_row row = row_of(CONTENTION_BLOCK, 4);
	expect_near("delay", (double)row.delay_ns, delay, delay_variance);
	expect_near("count", (double)row.contentions, N, count_variance);
}

static void test_at_rate_zero_no_wait_is_counted_for_good(void **state)
{
	(void)state;
	delays_start(0, 0);
	assert_int_equal(shared_own(&waits_watchers), 0);
	wait_at(5, 1000000);
	cause_at(5, 1000000);
	for (int kind = 0; kind < CONTENTION_KINDS; kind++) {
		expect(kind, 5, 0, 0);
		assert_int_equal(snapshot_contention_rate(kind), 0);
		assert_int_equal(snapshot_contention_raise(kind, 1), -ENOSYS);
		assert_int_equal(snapshot_contention_rate(kind), 0);
	}
	delays_start(0, 1);
	assert_int_equal(shared_own(&waits_watchers), WAITS_FOR_MUTEX);
	delays_start(1, 0);
	assert_int_equal(shared_own(&waits_watchers), WAITS_FOR_BLOCK);
}

/* --- their causes ------------------------------------------------------------------------------------ */

static void test_at_fraction_one_all_that_holders_cause_is_counted(void **state)
{
	(void)state;
	for (uint64_t ns = 0; ns <= 100; ns++)
		cause_at(6, ns); /* 0: nobody waited: no contention */
	expect(CONTENTION_MUTEX, 6, 100, 5050);
	expect(CONTENTION_BLOCK, 6, 0, 0);
}

static void test_at_fraction_n_one_in_n_is_kept_and_stands_for_n(void **state)
{
	static const uint64_t fractions[] = {2, 3, 10, 100, 1000};
	enum { N = 300000 };
	(void)state;
	for (size_t i = 0; i < COUNT(fractions); i++) {
		double n = (double)fractions[i];
		delays_start(1, fractions[i]);
		for (int k = 0; k < N; k++)
			cause_at(120 + i, 50);
		struct contention_row row = row_of(CONTENTION_MUTEX, 120 + i);
		assert_int_equal(row.contentions % fractions[i], 0);
		assert_int_equal(row.delay_ns, row.contentions * 50);
		expect_near("count", (double)row.contentions, N, N * (n - 1));
	}
}

static void test_one_stack_may_wait_and_make_others_wait(void **state)
{
	(void)state;
	now_ns = 1500;
	delays_waited(WAIT_pthread_cond_wait, 1000, now_ns, at(7), false);
	delays_caused(0x1000 + WAIT_pthread_cond_wait, 30, at(7)); /* a wait for a condition lets the mutex go */
	delays_caused(0x1000 + WAIT_pthread_cond_wait, 40, at(7));
	struct region r = {0};
	struct contention_snapshot block, mutex;
	assert_int_equal(snapshot_contention(&r, CONTENTION_BLOCK, &block), 0);
	assert_int_equal(snapshot_contention(&r, CONTENTION_MUTEX, &mutex), 0);
	assert_int_equal(block.count, mutex.count);
	size_t i = block.count - 1;
	assert_ptr_equal(block.rows[i].stack, mutex.rows[i].stack);
	assert_int_equal(block.rows[i].contentions, 1);
	assert_int_equal(block.rows[i].delay_ns, 500);
	assert_int_equal(mutex.rows[i].contentions, 2);
	assert_int_equal(mutex.rows[i].delay_ns, 70);
	region_release(&r);
}

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

/* --- rates ------------------------------------------------------------------------------------------- */

static void test_the_finest_rate_that_is_asked_for_holds(void **state)
{
	(void)state;
	delays_start(10000, 50);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50);
	int fine = snapshot_contention_raise(CONTENTION_BLOCK, 100);
	assert_true(fine >= 0);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 100);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50); /* the other side's is its own */
	int middle = snapshot_contention_raise(CONTENTION_BLOCK, 500);
	int coarse = snapshot_contention_raise(CONTENTION_BLOCK, 1000000);
	int finest = snapshot_contention_raise(CONTENTION_BLOCK, 1);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 1);
	snapshot_contention_restore(CONTENTION_BLOCK, finest);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 100);
	snapshot_contention_restore(CONTENTION_BLOCK, fine);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 500);
	snapshot_contention_restore(CONTENTION_BLOCK, middle);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000); /* never coarser than the preset */
	snapshot_contention_restore(CONTENTION_BLOCK, coarse);
	assert_int_equal(snapshot_contention_rate(CONTENTION_BLOCK), 10000);
	int fraction = snapshot_contention_raise(CONTENTION_MUTEX, 1);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 1);
	snapshot_contention_restore(CONTENTION_MUTEX, fraction);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 50);
}

static void test_a_raised_rate_is_what_waits_are_kept_at(void **state)
{
	(void)state;
	delays_start(1ull << 40, 1ull << 40);
	for (int i = 0; i < 100; i++) {
		wait_at(16, 3);
		cause_at(16, 3);
	}
	expect(CONTENTION_BLOCK, 16, 0, 0);
	expect(CONTENTION_MUTEX, 16, 0, 0);
	int block = snapshot_contention_raise(CONTENTION_BLOCK, 1),
	    mutex = snapshot_contention_raise(CONTENTION_MUTEX, 1);
	wait_at(16, 3);
	cause_at(16, 4);
	expect(CONTENTION_BLOCK, 16, 1, 3);
	expect(CONTENTION_MUTEX, 16, 1, 4);
	snapshot_contention_restore(CONTENTION_BLOCK, block);
	snapshot_contention_restore(CONTENTION_MUTEX, mutex);
	for (int i = 0; i < 100; i++) {
		wait_at(16, 3);
		cause_at(16, 3);
	}
	expect(CONTENTION_BLOCK, 16, 1, 3);
	expect(CONTENTION_MUTEX, 16, 1, 4);
}

static void test_too_many_that_ask_at_once_are_turned_away(void **state)
{
	int token[100], count = 0;
	(void)state;
	delays_start(1000, 1000);
	while (count < 100 && (token[count] = snapshot_contention_raise(CONTENTION_MUTEX, 500 - (unsigned)count)) >= 0)
		count++;
	assert_int_equal(token[count], -EBUSY);
	assert_in_range(count, 4, 64);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 500 - count + 1);
	int other = snapshot_contention_raise(CONTENTION_BLOCK, 7);
	assert_true(other >= 0); /* there is room on the other side */
	snapshot_contention_restore(CONTENTION_BLOCK, other);
	snapshot_contention_restore(CONTENTION_MUTEX, token[3]);
	assert_int_equal(snapshot_contention_raise(CONTENTION_MUTEX, 2), token[3]);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 2);
	for (int i = 0; i < count; i++)
		snapshot_contention_restore(CONTENTION_MUTEX, token[i]);
	assert_int_equal(snapshot_contention_rate(CONTENTION_MUTEX), 1000);
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
		delays_caused(FUNCTION, 3, at(site));
	}
	return NULL;
}

/* What is read of the delay is never more than what was counted before. */
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
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_at_rate_one_every_wait_is_counted_with_its_delay),
		TEST(test_waits_of_at_least_the_rate_are_counted_exactly),
		TEST(test_a_wait_that_the_clock_does_not_see_is_one_nanosecond),
		TEST(test_shorter_waits_are_kept_without_bias_for_delay_and_count),
		TEST(test_waits_of_all_lengths_together_are_kept_without_bias),
		TEST(test_at_rate_zero_no_wait_is_counted_for_good),
		TEST(test_at_fraction_one_all_that_holders_cause_is_counted),
		TEST(test_at_fraction_n_one_in_n_is_kept_and_stands_for_n),
		TEST(test_one_stack_may_wait_and_make_others_wait),
		TEST(test_errno_is_the_programs),
		TEST(test_what_a_handler_inside_the_profiler_sees_is_a_counted_loss),
		TEST(test_at_the_memory_cap_waits_are_counted_as_one),
		TEST(test_a_wait_that_is_kept_starts_a_pending_listener_once),
		TEST(test_letting_go_asks_for_the_delay_and_tells_a_trace),
		TEST(test_the_finest_rate_that_is_asked_for_holds),
		TEST(test_a_raised_rate_is_what_waits_are_kept_at),
		TEST(test_too_many_that_ask_at_once_are_turned_away),
		TEST(test_a_later_snapshot_has_the_same_rows_first),
		TEST(test_stacks_that_have_any_are_counted_on_their_side),
		TEST(test_the_child_of_a_fork_begins_at_zero_and_the_parent_goes_on),
		TEST(test_threads_and_a_reader_agree_on_every_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
