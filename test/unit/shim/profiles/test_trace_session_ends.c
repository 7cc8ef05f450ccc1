/* test_trace_session_ends.c - what lasts at the end of a trace, and what is told when something is missing.
 *
 * Runs in: its own process; the main thread of a child takes the trace, as the listener would.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/trace_session.c shim/profiles/trace_events.c shim/threads/threads.c shim/threads/creations.c
 * links: shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/threads/tasks.c shim/base/powers.c shim/waits/waits.c shim/stack/stacks.c shim/profiles/sampling.c
 * links: shim/base/settings.c
 * links: shim/libc/clock.c shim/libc/real.c shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/places.c
 * links: test/unit/support/cut/heap_counts.c */
#include "test/unit/shim/profiles/trace_session_made.h"

/* --- traces --------------------------------------------------------------------------------------- */

static bool has_comment(const char *text)
{
	for (size_t i = 0; i < snap.comment_count; i++)
		if (strstr(snap.comments[i], text))
			return true;
	return false;
}

/* --- what lasts --------------------------------------------------------------------------------------- */

static void lasting_waits(void)
{
	struct worker *lock = start(0, (struct worker){0}), *net = start(1, (struct worker){0}),
		      *runs = start(2, (struct worker){0}), *lost = start(3, (struct worker){0}),
		      *late = start(4, (struct worker){0});
	begin();
	struct {
		struct stack s;
		uintptr_t pc[2];
	} stack = {.s = {.depth = 2, .place = 4}, .pc = {0x1000, 0x400000}};
	struct dump_thread threads[] = {{.tid = lock->tid, .stack = &stack.s},
	                                {.tid = net->tid, .stack = &stack.s},
	                                {.tid = runs->tid, .stack = &stack.s},
	                                {.tid = lost->tid},
	                                {.tid = late->tid, .stack = &stack.s}};
	dump = (struct dump_snapshot){.count = COUNT(threads), .threads = threads};
	struct wait_scope scope;
	const struct {
		int tid;
		enum wait_call call;
		uintptr_t object;
		uint64_t since_ns;
	} waits[] = {{lock->tid, WAIT_pthread_mutex_lock, 0xabc, 77},
	             {net->tid, WAIT_recv, 5, 0},
	             {lost->tid, WAIT_recv, 5, 0},
	             {late->tid, WAIT_recv, 5, UINT64_MAX / 2}};
	for (size_t i = 0; i < COUNT(waits); i++) { /* what the hooks publish */
		self.thread = threads_facts(waits[i].tid).thread;
		waits_enter(&scope, waits[i].call, waits[i].object, (struct unwind_frame){.pc = 1, .sp = 8000},
		            waits[i].since_ns);
	}
	self.thread = NULL;
	finish();
	int count;
	const struct trace_event *e = find_event(TRACE_SYNC, lock->tid, &count);
	CHECK(count == 1 && e->end_ns == UINT64_MAX && e->start_ns == 77 && e->object == 0xabc &&
	      e->call == WAIT_pthread_mutex_lock);
	CHECK(e->stack->depth == 2 && e->stack->place == 4 && e->stack->pc[1] == 0x400000 && e->stack != &stack.s &&
	      !e->woken_ns);
	e = find_event(TRACE_NET, net->tid, &count);
	CHECK(count == 1 && e->end_ns == UINT64_MAX && e->start_ns == 0 && e->object == 5);
	for (int kind = 0; kind < TRACE_WAITS; kind++)
		CHECK(count_of(kind, runs->tid) == 0 && count_of(kind, lost->tid) == 0 &&
		      count_of(kind, late->tid) == 0);
	CHECK(snap.comment_count == 0);
	give_back();
	begin();
	dump_error = -ENOMEM;
	finish();
	CHECK(has_comment("lasted"));
	give_back();
}

static void test_waits_that_last_at_the_end_are_there_without_an_end(void **state)
{
	(void)state;
	in_prepared_child(lasting_waits);
}

/* --- when something is missing ---------------------------------------------------------------------------- */

static void full_buffer(void)
{
	settings.memory_limit = 1 << 20;
	struct worker *w = start(0, (struct worker){0});
	begin();
	CHECK(snapshot_trace_drain() > 0);
	self.thread = threads_facts(w->tid).thread;
	self.busy = true;
	int n = 0;
	for (; n < 100000 && !trace_full_ns(); n++)
		trace_heap(n);
	self.busy = false;
	self.thread = NULL;
	uint64_t full_ns = trace_full_ns();
	CHECK(n < 100000);
	usleep(2000);
	CHECK(snapshot_trace_drain() == 0); /* end it now */
	finish();
	CHECK(snap.end_ns == full_ns && has_comment("full"));
	CHECK(count_of(TRACE_HEAP, w->tid) == n - 1);
	give_back();
	begin(); /* and another one has room again */
	CHECK(snapshot_trace_drain() > 0);
	finish();
	CHECK(snap.comment_count == 0);
	give_back();
}

static void test_a_full_buffer_ends_the_trace_and_is_told(void **state)
{
	(void)state;
	in_prepared_child(full_buffer);
}

static void no_timers(void)
{
	start(0, (struct worker){0});
	cpu_error = -EAGAIN;
	begin(); /* all the same */
	snapshot_trace_drain();
	finish();
	CHECK(has_comment("CPU"));
	give_back();
}

static void test_a_trace_without_samples_says_so(void **state)
{
	(void)state;
	in_prepared_child(no_timers);
}

static void stopped_writer(void)
{
	struct worker *w = start(0, (struct worker){0});
	begin();
	shared_set_own(&threads_facts(w->tid).thread->is_tracing, 1);
	finish();
	CHECK(has_comment("stopped"));
	shared_set_own(&threads_facts(w->tid).thread->is_tracing, 0);
	give_back();
	begin();
	finish();
	CHECK(snap.comment_count == 0);
	give_back();
}

static void test_a_thread_that_was_stopped_while_it_wrote_is_told_of(void **state)
{
	(void)state;
	in_prepared_child(stopped_writer);
}

static void one_at_a_time(void)
{
	struct region other = {0};
	struct worker *w = start(0, (struct worker){0});
	begin();
	finish();
	give_back();
	uint64_t before = arena_mapped_bytes();
	begin();
	CHECK(snapshot_trace_begin(&other) == -EBUSY);
	CHECK(other.chunks == NULL && trace_is_on());
	snapshot_trace_drain();
	snapshot_trace_abandon(); /* the client went away */
	CHECK(!trace_is_on() && cpu.ended == 2);
	region_release(&region);
	CHECK(arena_mapped_bytes() == before);
	begin();
	finish();
	CHECK(snapshot_trace_begin(&other) == -EBUSY); /* not before what it points to is given back */
	give_back();
	CHECK(arena_mapped_bytes() == before);
	arena_set_limit(0);
	CHECK(snapshot_trace_begin(&other) == -ENOMEM); /* no buffer; or not even that */
	CHECK(!trace_is_on());
	region_release(&other);
	arena_set_limit(64 << 20);
	CHECK(arena_mapped_bytes() == before);
	begin();
	finish();
	CHECK(thread_in_trace(w->tid));
	give_back();
}

static void test_there_is_one_trace_at_a_time_and_its_memory_is_given_back(void **state)
{
	(void)state;
	in_prepared_child(one_at_a_time);
}

/* Of a single thread, so that the child is as whole as the parent was. */
static void forked(void)
{
	begin();
	pid_t child = fork();
	if (child == 0) {
		trace_fork_child();
		trace_session_fork_child();
		house_fork_child();
		threads_fork_child();
		CHECK(!trace_is_on());
		region = (struct region){0};
		begin();
		finish();
		give_back();
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(trace_is_on());
	finish();
	give_back();
}

static void test_the_child_of_a_fork_takes_no_trace_and_may_begin_one(void **state)
{
	(void)state;
	in_prepared_child(forked);
}

static void test_calls_and_categories_have_their_names(void **state)
{
	(void)state;
	assert_string_equal(trace_call_name(WAIT_epoll_wait), "epoll_wait");
	assert_string_equal(trace_call_name(0), "");
	assert_string_equal(trace_log_category(TRACE_LOG_DLOPEN), "dlopen");
	assert_string_equal(trace_log_category(TRACE_LOG_DLCLOSE), "dlclose");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_that_last_at_the_end_are_there_without_an_end),
		cmocka_unit_test(test_a_full_buffer_ends_the_trace_and_is_told),
		cmocka_unit_test(test_a_trace_without_samples_says_so),
		cmocka_unit_test(test_a_thread_that_was_stopped_while_it_wrote_is_told_of),
		cmocka_unit_test(test_there_is_one_trace_at_a_time_and_its_memory_is_given_back),
		cmocka_unit_test(test_the_child_of_a_fork_takes_no_trace_and_may_begin_one),
		cmocka_unit_test(test_calls_and_categories_have_their_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
