/* test_waits.c - what a thread publishes of its waits, what a reader sees of them, and which interruptions are ours.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/waits.c shim/libc/clock.c shim/libc/real.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/base/os.h"
#include "shim/libc/real.h"
#include "shim/snapshot.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

__thread struct self self; /* sampling.c's */
shared_u32 signals_users;  /* signals.c's */

static bool counted;                     /* all handlers are */
bool handlers_counted(uintptr_t handler) /* hooks/signal.c's */
{
	(void)handler;
	return counted;
}

static struct thread record;

static struct thread *left_queue;
static int times_left;
void queues_leave(struct thread *t) /* queues.c's */
{
	left_queue = t;
	times_left++;
}

static int reset(void **state)
{
	(void)state;
	memset(&record, 0, sizeof record);
	memset(&self, 0, sizeof self);
	self.thread = &record;
	shared_set_own(&signals_users, 0);
	counted = false;
	left_queue = NULL;
	times_left = 0;
	shared_set_own(&waits_watchers, 0);
	return 0;
}

static struct unwind_frame frame_at(uintptr_t sp)
{
	return (struct unwind_frame){.pc = 0x400000 + sp, .sp = sp, .fp = sp + 16};
}

/* --- what is published ---------------------------------------------------------------------------- */

static void test_a_wait_is_published_while_it_lasts(void **state)
{
	(void)state;
	struct wait_scope s;
	struct wait w;
	assert_false(waits_read(&record.wait, &w));
	self.handled = 7;
	waits_enter(&s, WAIT_poll, 0, frame_at(8000), 5);
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(waits_call(shared_own(&w.state)), WAIT_poll);
	assert_int_equal(w.frame.sp, 8000);
	assert_int_equal(w.frame.pc, 0x400000 + 8000);
	assert_int_equal(w.frame.fp, 8016);
	assert_int_equal(w.since_ns, 5);
	assert_int_equal(w.handled, 7);
	assert_int_equal(shared_own(&w.cut_short), 0);
	waits_leave(&s);
	struct wait after;
	assert_false(waits_read(&record.wait, &after));
	waits_enter(&s, WAIT_read, 42, frame_at(9000), 0);
	assert_true(waits_read(&record.wait, &after));
	assert_int_equal(waits_call(shared_own(&after.state)), WAIT_read);
	assert_int_equal(after.object, 42);
	assert_int_equal(after.since_ns, 0);
	assert_true(shared_own(&after.state) >> 8 > shared_own(&w.state) >> 8); /* no wait is taken for another */
	waits_leave(&s);
	assert_false(waits_read(&record.wait, &after));
}

static void test_a_thread_without_a_record_waits_unseen(void **state)
{
	(void)state;
	struct wait_scope s;
	self.thread = NULL;
	waits_enter(&s, WAIT_poll, 0, frame_at(8000), 0);
	assert_null(waits_self());
	assert_false(waits_may_be_cut_short());
	assert_false(waits_was_cut_short());
	assert_int_equal(waits_left_ns(1234), 1234);
	waits_mark(0, 0, 0, 0);
	waits_leave(&s);
	assert_null(waits_self());
}

/* It got its record in a handler, between enter and leave. */
static void test_a_record_that_came_meanwhile_is_left_as_it_should_be(void **state)
{
	(void)state;
	struct wait_scope s, inner;
	struct wait w;
	self.thread = NULL;
	waits_enter(&s, WAIT_poll, 0, frame_at(8000), 0);
	self.thread = &record;
	waits_enter(&inner, WAIT_read, 1, frame_at(6000), 0);
	assert_true(waits_read(&record.wait, &w));
	waits_leave(&inner);
	waits_leave(&s);
	assert_false(waits_read(&record.wait, &w));
}

static void test_a_handlers_wait_gives_way_to_the_one_it_interrupted(void **state)
{
	(void)state;
	struct wait_scope outer, middle, inner;
	struct wait w;
	waits_enter(&outer, WAIT_pthread_mutex_lock, 0x1000, frame_at(9000), 11);
	waits_enter(&middle, WAIT_read, 3, frame_at(7000), 12);
	waits_enter(&inner, WAIT_poll, 0, frame_at(5000), 13);
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(waits_call(shared_own(&w.state)), WAIT_poll);
	waits_leave(&inner);
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(waits_call(shared_own(&w.state)), WAIT_read);
	assert_int_equal(w.object, 3);
	assert_int_equal(w.frame.sp, 7000);
	assert_int_equal(w.since_ns, 12);
	waits_leave(&middle);
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(waits_call(shared_own(&w.state)), WAIT_pthread_mutex_lock);
	assert_int_equal(w.object, 0x1000);
	assert_int_equal(w.frame.sp, 9000);
	assert_int_equal(w.frame.pc, 0x400000 + 9000);
	assert_int_equal(w.since_ns, 11);
	waits_leave(&outer);
	assert_false(waits_read(&record.wait, &w));
}

/* waits.h: "a state with a call never comes back once it was left": a reader relies on it. */
static void test_a_wait_that_goes_on_after_a_handlers_has_another_state(void **state)
{
	(void)state;
	struct wait_scope outer, inner;
	waits_enter(&outer, WAIT_read, 1, frame_at(9000), 0);
	uint64_t before = shared_own(&record.wait.state);
	waits_enter(&inner, WAIT_read, 2, frame_at(7000), 0);
	uint64_t meanwhile = shared_own(&record.wait.state);
	waits_leave(&inner);
	assert_int_equal(waits_call(shared_own(&record.wait.state)), WAIT_read);
	assert_int_not_equal(shared_own(&record.wait.state), meanwhile);
	assert_int_not_equal(shared_own(&record.wait.state), before);
	waits_leave(&outer);
}

/* The handler came while the fields were being written. */
static void test_a_handler_may_wait_while_another_wait_is_being_entered(void **state)
{
	(void)state;
	struct wait_scope outer, inner;
	struct wait w;
	waits_enter(&outer, WAIT_read, 1, frame_at(9000), 0);
	shared_set_own(&record.wait.state, WAIT_CHANGING);
	assert_false(waits_read(&record.wait, &w));
	waits_enter(&inner, WAIT_poll, 0, frame_at(7000), 0);
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(waits_call(shared_own(&w.state)), WAIT_poll);
	waits_leave(&inner);
	assert_int_equal(waits_call(shared_own(&record.wait.state)), WAIT_CHANGING);
	assert_int_equal(record.wait.object, 1);
	assert_int_equal(record.wait.frame.sp, 9000);
}

static void test_a_wait_that_was_left_by_a_jump_is_overwritten_further_out(void **state)
{
	static const uintptr_t outwards[] = {8000, 8008, 9000, 1 << 20};
	(void)state;
	for (size_t i = 0; i < COUNT(outwards); i++) {
		struct wait_scope stale, next;
		struct wait w;
		waits_enter(&stale, WAIT_read, 1, frame_at(8000), 0);
		waits_enter(&next, WAIT_poll, 0, frame_at(outwards[i]), 0);
		assert_true(waits_read(&record.wait, &w));
		assert_int_equal(waits_call(shared_own(&w.state)), WAIT_poll);
		assert_int_equal(w.frame.sp, outwards[i]);
		waits_leave(&next);
		assert_false(waits_read(&record.wait, &w));
	}
}

/* Further in it looks like a handler's: the stale one stays until the next wait at its height. (The reader asks the
 * kernel where the thread really is.) */
static void test_a_wait_that_was_left_by_a_jump_is_hidden_further_in(void **state)
{
	(void)state;
	struct wait_scope stale, next;
	struct wait w;
	waits_enter(&stale, WAIT_read, 1, frame_at(8000), 0);
	for (int i = 0; i < 3; i++) {
		waits_enter(&next, WAIT_poll, 5, frame_at(7000), 0);
		assert_true(waits_read(&record.wait, &w));
		assert_int_equal(waits_call(shared_own(&w.state)), WAIT_poll);
		assert_int_equal(w.frame.sp, 7000);
		waits_leave(&next);
	}
	waits_enter(&next, WAIT_poll, 5, frame_at(8000), 0);
	waits_leave(&next);
	assert_false(waits_read(&record.wait, &w));
}

static jmp_buf out;
static __attribute__((noinline)) void wait_and_jump(void)
{
	struct wait_scope s;
	waits_enter(&s, WAIT_sem_wait, 1, UNWIND_CALLER(), 0);
	longjmp(out, 1);
}

static __attribute__((noinline)) void wait_and_return(void)
{
	struct wait_scope s;
	waits_enter(&s, WAIT_sem_wait, 2, UNWIND_CALLER(), 0);
	waits_leave(&s);
}

static void test_after_a_real_jump_the_next_wait_clears_up(void **state)
{
	(void)state;
	struct wait w;
	if (setjmp(out) == 0)
		wait_and_jump();
	assert_true(waits_read(&record.wait, &w));
	assert_int_equal(w.object, 1);
	wait_and_return();
	assert_false(waits_read(&record.wait, &w));
}

/* Whoever jumped out of a lock call waits for that lock no more. */
static void test_a_wait_that_was_left_by_a_jump_leaves_its_queue_when_the_next_begins(void **state)
{
	(void)state;
	struct wait_scope stale, next;
	waits_enter(&stale, WAIT_pthread_mutex_lock, 1, frame_at(8000), 0);
	assert_int_equal(times_left, 0);
	waits_enter(&next, WAIT_poll, 0, frame_at(8000), 0);
	assert_int_equal(times_left, 1);
	assert_ptr_equal(left_queue, &record);
	waits_leave(&next);
	waits_enter(&next, WAIT_poll, 0, frame_at(8000), 0); /* once is enough */
	waits_leave(&next);
	assert_int_equal(times_left, 1);
}

/* A handler's wait is one on top: what it interrupted still waits. */
static void test_a_handlers_wait_takes_the_outer_one_out_of_no_queue(void **state)
{
	(void)state;
	struct wait_scope outer, inner;
	waits_enter(&outer, WAIT_pthread_mutex_lock, 1, frame_at(8000), 0);
	waits_enter(&inner, WAIT_pthread_mutex_lock, 2, frame_at(7000), 0);
	waits_leave(&inner);
	waits_enter(&inner, WAIT_poll, 0, frame_at(7000), 0);
	waits_leave(&inner);
	shared_set_own(&record.wait.state, WAIT_CHANGING); /* the handler came while it was being entered */
	waits_enter(&inner, WAIT_poll, 0, frame_at(9000), 0);
	waits_leave(&inner);
	assert_int_equal(times_left, 0);
	waits_leave(&outer);
	assert_int_equal(times_left, 0);
}

static void test_those_who_watch_come_and_go_one_by_one(void **state)
{
	(void)state;
	assert_false(waits_are_watched(WAITS_FOR_BLOCK | WAITS_FOR_MUTEX | WAITS_FOR_TRACE));
	waits_watch(WAITS_FOR_BLOCK, true);
	waits_watch(WAITS_FOR_TRACE, true);
	waits_watch(WAITS_FOR_TRACE, true); /* twice is once */
	assert_true(waits_are_watched(WAITS_FOR_BLOCK) && waits_are_watched(WAITS_FOR_TRACE));
	assert_true(waits_are_watched(WAITS_FOR_MUTEX | WAITS_FOR_TRACE));
	assert_false(waits_are_watched(WAITS_FOR_MUTEX));
	waits_watch(WAITS_FOR_TRACE, false);
	assert_true(waits_are_watched(WAITS_FOR_BLOCK));
	assert_false(waits_are_watched(WAITS_FOR_MUTEX | WAITS_FOR_TRACE));
	waits_watch(WAITS_FOR_MUTEX, false);
	waits_watch(WAITS_FOR_BLOCK, false);
	assert_int_equal(shared_own(&waits_watchers), 0);
}

static void test_a_record_is_handed_on_without_its_wait(void **state)
{
	(void)state;
	struct wait_scope s;
	struct wait w;
	waits_enter(&s, WAIT_read, 1, frame_at(8000), 0);
	uint64_t before = shared_own(&record.wait.state);
	shared_set_own(&record.wait.cut_short, 1);
	waits_reset(&record.wait);
	assert_false(waits_read(&record.wait, &w));
	assert_false(waits_may_be_cut_short());
	waits_enter(&s, WAIT_read, 1, frame_at(8000), 0);
	assert_int_not_equal(shared_own(&record.wait.state), before);
}

/* --- the reader --------------------------------------------------------------------------------- */

static struct {
	uint32_t stop; /* atomic */
	bool nested;
} writer;

static void wait_once(uintptr_t n, uintptr_t sp)
{
	struct wait_scope s;
	waits_enter(&s, n & 1 ? WAIT_read : WAIT_poll, n, (struct unwind_frame){.pc = n * 3, .sp = sp, .fp = n * 5},
	            n * 7);
	if (writer.nested && sp == 1 << 20)
		wait_once(n + 1, 1 << 19);
	waits_leave(&s);
}

static void *wait_on_and_on(void *arg)
{
	static struct thread own;
	self.thread = &own;
	__atomic_store_n((struct thread **)arg, &own, __ATOMIC_RELEASE);
	for (uintptr_t n = 1; !__atomic_load_n(&writer.stop, __ATOMIC_RELAXED); n += 2)
		wait_once(n, 1 << 20);
	return NULL;
}

static bool is_torn(const struct wait *w)
{
	uintptr_t n = w->object;
	return w->frame.pc != n * 3 || w->frame.fp != n * 5 || w->since_ns != n * 7 ||
	       waits_call(shared_own(&w->state)) != (n & 1 ? WAIT_read : WAIT_poll) ||
	       w->frame.sp != (n & 1 ? 1u << 20 : 1u << 19);
}

static void expect_whole_copies(bool nested)
{
	struct thread *own = NULL, *seen;
	pthread_t t;
	uint64_t got = 0, torn = 0;
	enum { ROUNDS = 600000, LEAST = 20000 };
	writer.stop = 0;
	writer.nested = nested;
	assert_int_equal(pthread_create(&t, NULL, wait_on_and_on, &own), 0);
	while (!(seen = __atomic_load_n(&own, __ATOMIC_ACQUIRE)))
		continue;
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + 500000000;
	for (uint64_t i = 0; i < ROUNDS || got < LEAST || i % 4096 || os_clock_ns(CLOCK_MONOTONIC) < until; i++) {
		struct wait w;
		if (!waits_read(&seen->wait, &w))
			continue;
		got++;
		torn += is_torn(&w);
	}
	__atomic_store_n(&writer.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	if (torn)
		fail_msg("%llu of %llu copies are torn", (unsigned long long)torn, (unsigned long long)got);
	assert_true(got >= LEAST);
}

static void test_no_copy_is_torn_while_its_thread_goes_from_wait_to_wait(void **state)
{
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* the copy is checked afterwards: a race by its rules */
#endif
	expect_whole_copies(false);
}

static void test_no_copy_is_torn_while_handlers_wait_within_waits(void **state)
{
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip();
#endif
	expect_whole_copies(true);
}

/* --- what our signal interrupted --------------------------------------------------------------------- */

static unsigned char *code; /* a page; "syscall" ends at code + 2 and code + 1026 */

static int make_code(void **state)
{
	(void)state;
	clock_start();
	code = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return -1;
	memset(code, 0x90, 8192);
	memcpy(code, "\x0f\x05", 2);
	memcpy(code + 1024, "\x0f\x05", 2);
	memcpy(code + 4095, "\x0f\x05", 2); /* across two pages: the first may be gone */
	memcpy(code + 2048, "\x0f\x0b", 2);
	return 0;
}

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

/* --- the table --------------------------------------------------------------------------------- */

static void test_every_call_has_its_name_its_object_its_view_and_its_function(void **state)
{
	static const struct {
		unsigned call;
		const char *name;
		unsigned kind;
		enum wait_view view;
	} rows[] = {
		{WAIT_pthread_mutex_lock, "pthread_mutex_lock", DUMP_ADDRESS, VIEW_SYNC},
		{WAIT_pthread_cond_wait, "pthread_cond_wait", DUMP_ADDRESS, VIEW_COND},
		{WAIT_poll, "poll", DUMP_NO_OBJECT, VIEW_SELECT},
		{WAIT___poll_chk, "__poll_chk", DUMP_NO_OBJECT, VIEW_SELECT},
		{WAIT_epoll_wait, "epoll_wait", DUMP_FD, VIEW_SELECT},
		{WAIT_accept, "accept", DUMP_FD, VIEW_NET},
		{WAIT_recv, "recv", DUMP_FD, VIEW_NET},
		{WAIT_send, "send", DUMP_FD, VIEW_SEND},
		{WAIT_read, "read", DUMP_FD, VIEW_READ},
		{WAIT_write, "write", DUMP_FD, VIEW_WRITE},
		{WAIT_flock, "flock", DUMP_FD, VIEW_SYSCALL},
		{WAIT_nanosleep, "nanosleep", DUMP_NO_OBJECT, VIEW_SLEEP},
		{WAIT_pthread_join, "pthread_join", DUMP_TID, VIEW_SYNC},
		{WAIT_waitpid, "waitpid", DUMP_PID, VIEW_SYSCALL},
		{WAIT_syscall, "syscall", DUMP_ADDRESS, VIEW_SYNC},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_string_equal(waits_name(rows[i].call), rows[i].name);
		assert_int_equal(waits_kind(rows[i].call), rows[i].kind);
		assert_int_equal(waits_view(rows[i].call), rows[i].view);
		assert_int_equal(waits_function(rows[i].call), (uintptr_t)real_find(rows[i].name).address);
	}
	for (unsigned call = WAIT_NONE + 1; call < WAIT_CALLS; call++) {
		assert_true(waits_name(call)[0] != '\0');
		assert_true(waits_view(call) <= VIEW_SYSCALL);
		assert_true(waits_function(call) != 0 || call == WAIT_io_getevents); /* libaio's, which is not loaded */
		for (unsigned k = WAIT_NONE + 1; k < call; k++)
			assert_string_not_equal(waits_name(k), waits_name(call));
	}
	assert_string_equal(waits_shown(WAIT_poll), "poll");
	assert_string_equal(waits_shown(WAIT___poll), "poll");
	assert_string_equal(waits_shown(WAIT___poll_chk), "poll");
	assert_string_equal(waits_shown(WAIT___ppoll_chk), "poll");
	assert_string_equal(waits_shown(WAIT___read_chk), "read_chk");
	static const unsigned none[] = {WAIT_NONE, WAIT_CALLS, WAIT_CHANGING, 1000};
	for (size_t i = 0; i < COUNT(none); i++) {
		assert_string_equal(waits_name(none[i]), "");
		assert_string_equal(waits_shown(none[i]), "");
		assert_int_equal(waits_kind(none[i]), DUMP_NO_OBJECT);
		assert_int_equal(waits_view(none[i]), VIEW_SYSCALL);
		assert_int_equal(waits_function(none[i]), 0);
	}
	assert_true(WAIT_CALLS < WAIT_CHANGING);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_a_wait_is_published_while_it_lasts),
		TEST(test_a_thread_without_a_record_waits_unseen),
		TEST(test_a_record_that_came_meanwhile_is_left_as_it_should_be),
		TEST(test_a_handlers_wait_gives_way_to_the_one_it_interrupted),
		TEST(test_a_wait_that_goes_on_after_a_handlers_has_another_state),
		TEST(test_a_handler_may_wait_while_another_wait_is_being_entered),
		TEST(test_a_wait_that_was_left_by_a_jump_is_overwritten_further_out),
		TEST(test_a_wait_that_was_left_by_a_jump_is_hidden_further_in),
		TEST(test_after_a_real_jump_the_next_wait_clears_up),
		TEST(test_a_wait_that_was_left_by_a_jump_leaves_its_queue_when_the_next_begins),
		TEST(test_a_handlers_wait_takes_the_outer_one_out_of_no_queue),
		TEST(test_those_who_watch_come_and_go_one_by_one),
		TEST(test_a_record_is_handed_on_without_its_wait),
		TEST(test_no_copy_is_torn_while_its_thread_goes_from_wait_to_wait),
		TEST(test_no_copy_is_torn_while_handlers_wait_within_waits),
		TEST(test_only_an_interrupted_system_call_of_the_wait_is_marked),
		TEST(test_with_another_signal_due_the_call_would_have_been_interrupted_anyway),
		TEST(test_signals_without_a_handler_interrupt_nothing),
		TEST(test_a_call_that_the_next_handler_would_end_is_not_made_again),
		TEST(test_the_mark_is_taken_by_asking_and_void_when_a_handler_has_run),
		TEST(test_a_handlers_wait_takes_no_mark_of_the_outer_one),
		TEST(test_what_is_left_of_a_time_out_is_never_too_short_nor_more_than_all),
		TEST(test_where_the_beginning_is_not_known_all_of_a_time_out_is_left),
		TEST(test_the_clock_is_only_read_where_signals_are_about),
		TEST(test_every_call_has_its_name_its_object_its_view_and_its_function),
	};
	return cmocka_run_group_tests(tests, make_code, NULL);
}
