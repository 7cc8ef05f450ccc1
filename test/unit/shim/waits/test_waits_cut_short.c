/* test_waits_cut_short.c - which interruptions of a call are ours, and what is left of its time-out then.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/waits.c shim/libc/clock.c shim/libc/real.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/shim/waits/waits_made.h"

/* --- what our signal interrupted --------------------------------------------------------------------- */

static void test_only_an_interrupted_system_call_of_the_wait_is_marked(void **state)
{
	enum { SP = 1 << 16 };
	static const struct {
		const char *what;
		size_t pc;
		long below; /* the frame */
		intptr_t result;
		bool marked;
	} rows[] = {
		{"interrupted", 1026, 100, -EINTR, true},
		{"a part was moved", 1026, 100, 5, true},
		{"nothing was moved", 1026, 100, 0, true},
		{"at the beginning of a page", 2, 100, -EINTR, true},
		{"at the frame itself", 1026, 0, -EINTR, true},
		{"far down, but not too far", 1026, 1024, -EINTR, true},
		{"too far down: a handler's", 1026, 1025, -EINTR, false},
		{"above the frame: it was left by a jump", 1026, -8, -EINTR, false},
		{"far above the frame", 1026, -4000, -EINTR, false},
		{"another error", 1026, 100, -EAGAIN, false},
		{"another error", 1026, 100, -EINVAL, false},
		{"another error", 1026, 100, -ETIMEDOUT, false},
		{"not at a system call", 1025, 100, -EINTR, false},
		{"not at a system call", 1027, 100, -EINTR, false},
		{"not at a system call", 1024, 100, -EINTR, false},
		{"another instruction", 2050, 100, -EINTR, false},
		{"at the first byte of a page", 4096, 100, -EINTR, false},
		{"at the second byte of a page", 4097, 100, -EINTR, false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct wait_scope s;
		waits_enter(&s, WAIT_read, 1, frame_at(SP), 0);
		waits_mark((uintptr_t)code + rows[i].pc, (uintptr_t)(SP - rows[i].below), rows[i].result, 0);
		if (waits_may_be_cut_short() != rows[i].marked)
			fail_msg("row %zu: %s", i, rows[i].what);
		waits_leave(&s);
		waits_mark((uintptr_t)code + 1026, SP - 100, -EINTR, 0); /* it runs: what is marked is no wait */
		assert_true(waits_may_be_cut_short() == rows[i].marked);
		waits_enter(&s, WAIT_read, 1, frame_at(SP), 0);
		assert_false(waits_may_be_cut_short()); /* and the next wait has no mark */
		waits_leave(&s);
	}
	struct wait_scope s;
	waits_enter(&s, WAIT_read, 1, frame_at(SP), 0);
	shared_set_own(&record.wait.state, WAIT_CHANGING);
	waits_mark((uintptr_t)code + 1026, SP - 100, -EINTR, 0);
	assert_false(waits_may_be_cut_short());
}

static bool is_marked(uint64_t mask)
{
	struct wait_scope s;
	waits_enter(&s, WAIT_read, 1, frame_at(1 << 16), 0);
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, mask);
	bool marked = waits_may_be_cut_short();
	waits_leave(&s);
	return marked;
}

static uint64_t bit(int sig)
{
	return 1ull << (sig - 1);
}

static void nothing(int sig)
{
	(void)sig;
}

static void send_self(int sig)
{
	CHECK(os_call(SYS_tgkill, os_pid(), os_tid(), sig) == 0);
}

/* As in our handler, every signal is blocked; `mask` is what the interrupted code had blocked. */
static void others_pending(void)
{
	static const int signals[] = {SIGUSR1, SIGHUP, SIGALRM, SIGCHLD, SIGTERM, 34, 64};
	uint64_t all = ~0ull;
	CHECK(os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8) == 0);
	CHECK(is_marked(0));
	send_self(33); /* libc's own, and ours */
	send_self(32);
	CHECK(is_marked(0));
	uint64_t sent = 0;
	for (size_t i = 0; i < COUNT(signals); i++) {
		struct sigaction action = {.sa_handler = nothing, .sa_flags = i % 2 ? SA_RESTART : 0};
		CHECK(sigaction(signals[i], &action, NULL) == 0);
		send_self(signals[i]);
		sent |= bit(signals[i]);
		CHECK(!is_marked(0));
		CHECK(!is_marked(sent & ~bit(signals[i])));
		CHECK(is_marked(sent)); /* the program has them blocked: they interrupted nothing */
		CHECK(is_marked(~0ull));
		counted = true;
		CHECK(is_marked(0)); /* whether their handlers run is known otherwise */
		counted = false;
	}
	struct sigaction action = {.sa_handler = nothing};
	CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
	CHECK(os_call(SYS_kill, os_pid(), SIGUSR2) == 0); /* the process's, not the thread's */
	CHECK(!is_marked(sent));
	CHECK(is_marked(sent | bit(SIGUSR2)));
}

/* SIGCHLD without a handler, and what is ignored, ends no call. */
static void unhandled_pending(void)
{
	uint64_t all = ~0ull;
	CHECK(os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8) == 0);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	CHECK(sigaction(SIGUSR1, &ignore, NULL) == 0);
	send_self(SIGUSR1);
	send_self(SIGCHLD);
	send_self(SIGWINCH);
	CHECK(is_marked(0));
}

/* The kernel will make the call again after our handler, though the one that comes next would have ended it. */
static bool must_fail(size_t pc, intptr_t result, uint64_t mask)
{
	struct wait_scope s;
	waits_enter(&s, WAIT_read, 1, frame_at(1 << 16), 0);
	bool must = waits_mark((uintptr_t)code + pc, (1 << 16) - 100, result, mask);
	waits_leave(&s);
	return must;
}

static void restarting(void)
{
	uint64_t all = ~0ull;
	struct sigaction ends = {.sa_handler = nothing}, goes_on = {.sa_handler = nothing, .sa_flags = SA_RESTART};
	CHECK(os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8) == 0);
	CHECK(sigaction(SIGUSR1, &ends, NULL) == 0 && sigaction(SIGUSR2, &goes_on, NULL) == 0);
	CHECK(!must_fail(1024, SYS_read, 0));
	send_self(SIGUSR2);
	CHECK(!must_fail(1024, SYS_read, 0));
	send_self(SIGUSR1);
	CHECK(must_fail(1024, SYS_read, 0));
	CHECK(must_fail(0, SYS_read, 0));
	CHECK(must_fail(1024, SYS_read, bit(SIGUSR2)));
	CHECK(!must_fail(1024, SYS_read, bit(SIGUSR1))); /* blocked */
	CHECK(!must_fail(1026, -EINTR, 0));              /* it fails already */
	CHECK(!must_fail(1026, 5, 0));
	CHECK(!must_fail(1025, SYS_read, 0) && !must_fail(2048, SYS_read, 0));
	counted = true;
	CHECK(must_fail(1024, SYS_read, 0)); /* its handler is counted, but comes too late */
}

static void test_a_call_that_the_next_handler_would_end_is_not_made_again(void **state)
{
	(void)state;
	in_child(restarting);
}

static void test_signals_without_a_handler_interrupt_nothing(void **state)
{
	(void)state;
	in_child(unhandled_pending);
}

static void test_with_another_signal_due_the_call_would_have_been_interrupted_anyway(void **state)
{
	(void)state;
	in_child(others_pending);
}

static void test_the_mark_is_taken_by_asking_and_void_when_a_handler_has_run(void **state)
{
	(void)state;
	struct wait_scope s;
	self.handled = UINT32_MAX;
	waits_enter(&s, WAIT_read, 1, frame_at(1 << 16), 0);
	assert_false(waits_may_be_cut_short());
	assert_false(waits_was_cut_short());
	for (int i = 0; i < 3; i++) { /* again and again, as the call is made again */
		waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, 0);
		assert_true(waits_may_be_cut_short());
		assert_true(waits_was_cut_short());
		assert_false(waits_may_be_cut_short());
		assert_false(waits_was_cut_short());
	}
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, 0);
	self.handled++; /* comes round to 0 */
	assert_true(waits_may_be_cut_short());
	assert_false(waits_was_cut_short());
	assert_false(waits_may_be_cut_short());
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, 0);
	assert_false(waits_was_cut_short()); /* nor later in this call */
	waits_leave(&s);
	waits_enter(&s, WAIT_read, 1, frame_at(1 << 16), 0);
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, 0);
	assert_true(waits_was_cut_short());
	waits_leave(&s);
}

static void test_a_handlers_wait_takes_no_mark_of_the_outer_one(void **state)
{
	(void)state;
	struct wait_scope outer, inner;
	waits_enter(&outer, WAIT_read, 1, frame_at(1 << 16), 0);
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 100, -EINTR, 0);
	waits_enter(&inner, WAIT_poll, 0, frame_at((1 << 16) - 5000), 0);
	assert_false(waits_may_be_cut_short());
	waits_mark((uintptr_t)code + 1026, (1 << 16) - 5100, -EINTR, 0);
	assert_true(waits_may_be_cut_short());
	waits_leave(&inner);
	assert_false(waits_was_cut_short());
	waits_leave(&outer);
}

/* --- time-outs --------------------------------------------------------------------------------- */

static void test_what_is_left_of_a_time_out_is_never_too_short_nor_more_than_all(void **state)
{
	static const uint64_t timeouts[] = {0, 1, 1000, 100000, 1000000, 5000000, 1000000000, UINT64_MAX / 2};
	(void)state;
	for (size_t i = 0; i < COUNT(timeouts); i++) {
		uint64_t whole = timeouts[i], since = clock_ns(CLOCK_MONOTONIC);
		struct wait_scope s;
		waits_enter(&s, WAIT_poll, 0, frame_at(8000), since);
		for (int k = 0; k < 2000; k++) {
			uint64_t before = clock_ns(CLOCK_MONOTONIC), left = waits_left_ns(whole),
				 after = clock_ns(CLOCK_MONOTONIC);
			uint64_t most = whole > before - since ? whole - (before - since) : 0;
			uint64_t least = whole > after - since ? whole - (after - since) : 0;
			assert_true(left <= whole);
			assert_true(left >= least && left <= most);
		}
		waits_leave(&s);
	}
}

static void test_where_the_beginning_is_not_known_all_of_a_time_out_is_left(void **state)
{
	(void)state;
	struct wait_scope s;
	waits_enter(&s, WAIT_poll, 0, frame_at(8000), 0);
	assert_int_equal(waits_left_ns(12345), 12345);
	waits_leave(&s);
	waits_enter(&s, WAIT_poll, 0, frame_at(8000),
	            clock_ns(CLOCK_MONOTONIC) + 1000000000u); /* a clock that is ahead */
	assert_int_equal(waits_left_ns(12345), 12345);
	waits_leave(&s);
}

static void test_the_clock_is_only_read_where_signals_are_about(void **state)
{
	(void)state;
	assert_int_equal(waits_start_ns(), 0);
	shared_set_own(&signals_users, 1);
	uint64_t before = clock_ns(CLOCK_MONOTONIC), start = waits_start_ns();
	assert_true(start >= before && start <= clock_ns(CLOCK_MONOTONIC));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_only_an_interrupted_system_call_of_the_wait_is_marked),
		TEST(test_with_another_signal_due_the_call_would_have_been_interrupted_anyway),
		TEST(test_signals_without_a_handler_interrupt_nothing),
		TEST(test_a_call_that_the_next_handler_would_end_is_not_made_again),
		TEST(test_the_mark_is_taken_by_asking_and_void_when_a_handler_has_run),
		TEST(test_a_handlers_wait_takes_no_mark_of_the_outer_one),
		TEST(test_what_is_left_of_a_time_out_is_never_too_short_nor_more_than_all),
		TEST(test_where_the_beginning_is_not_known_all_of_a_time_out_is_left),
		TEST(test_the_clock_is_only_read_where_signals_are_about),
	};
	return cmocka_run_group_tests(tests, make_code, NULL);
}
