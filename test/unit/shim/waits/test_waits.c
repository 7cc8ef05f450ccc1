/* test_waits.c - what a thread publishes of its waits, and what a reader sees of them.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/waits.c shim/libc/clock.c shim/libc/real.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/shim/waits/waits_made.h"

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

/* A thread that jumped out of a lock call waits for that lock no more. */
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
		TEST(test_every_call_has_its_name_its_object_its_view_and_its_function),
	};
	return cmocka_run_group_tests(tests, make_code, NULL);
}
