/* test_trace_session.c - traces of real threads: who is there, who comes and goes.
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

/* --- stubs ------------------------------------------------------------------------------------- */

static void end(struct worker *w)
{
	__atomic_store_n(&w->go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&w->go, 1);
	pthread_join(w->thread, NULL);
	while (os_call(SYS_tgkill, os_pid(), w->tid, 0) == 0) /* joined before the kernel is done with it */
		usleep(200);
}

/* --- who is there ---------------------------------------------------------------------------------- */

static void those_there(void)
{
	struct worker *b = start(0, (struct worker){.name = "blocked"}),
		      *r = start(1, (struct worker){.name = "busy", .how = BUSY});
	heap_rows[0].scaled = (struct heap_values){.alloc_bytes = 1000, .free_bytes = 300};
	heap_rows[1].scaled = (struct heap_values){.alloc_bytes = 50, .free_bytes = 50};
	uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
	begin();
	CHECK(trace_is_on() && snap.thread_count == 0);
	CHECK(threads_facts(b->tid).thread &&
	      threads_facts(r->tid).thread); /* records for what they are going to tell */
	finish();
	CHECK(snap.begin_ns >= before_ns && snap.end_ns <= clock_ns(CLOCK_MONOTONIC));
	CHECK(snap.in_use_bytes == 700);
	CHECK(snap.thread_count == 2 && snap.comment_count == 0);
	const struct trace_thread *t = thread_in_trace(b->tid);
	CHECK(t && t->was_there && t->was_blocked && !t->has_ended && strcmp(t->name, "blocked") == 0);
	t = thread_in_trace(r->tid);
	CHECK(t && t->was_there && !t->was_blocked && !t->has_ended && strcmp(t->name, "busy") == 0);
	CHECK(cpu.begun == 1 && cpu.ended == 1);
	give_back();
}

static void test_the_threads_there_are_known_and_whether_they_are_blocked(void **state)
{
	(void)state;
	in_prepared_child(those_there);
}

static void coming_and_going(void)
{
	struct worker *stays = start(0, (struct worker){.name = "stays"}),
		      *goes = start(1, (struct worker){.name = "goes"});
	begin();
	struct worker *comes = start(2, (struct worker){.name = "comes"}),
		      *quick = start(3, (struct worker){.name = "quick"});
	CHECK(snapshot_trace_drain() >= 1 && cpu.drained == 1);
	uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
	end(goes);
	end(quick);
	snapshot_trace_drain();
	uint64_t after_ns = clock_ns(CLOCK_MONOTONIC);
	snapshot_trace_drain();
	finish();
	CHECK(snap.thread_count == 4);
	const struct trace_thread *t = thread_in_trace(comes->tid);
	CHECK(t && !t->was_there && !t->was_blocked && !t->has_ended && strcmp(t->name, "comes") == 0);
	t = thread_in_trace(stays->tid);
	CHECK(t && t->was_there && !t->has_ended);
	t = thread_in_trace(goes->tid);
	CHECK(t && t->was_there && t->has_ended);
	t = thread_in_trace(quick->tid);
	CHECK(t && !t->was_there && t->has_ended && strcmp(t->name, "quick") == 0);
	struct worker *gone[] = {goes, quick};
	for (int i = 0; i < 2; i++) { /* they did not say so: it was found out */
		int count;
		const struct trace_event *e = find_event(TRACE_ENDED, gone[i]->tid, &count);
		CHECK(count == 1 && e->start_ns >= before_ns && e->start_ns <= after_ns && e->end_ns == e->start_ns);
	}
	CHECK(count_of(TRACE_ENDED, stays->tid) == 0 && count_of(TRACE_ENDED, comes->tid) == 0);
	give_back();
}

static void test_threads_that_come_and_go_are_found_and_their_ends_are_told(void **state)
{
	(void)state;
	in_prepared_child(coming_and_going);
}

static void tellers(void)
{
	begin();
	struct worker *seen = start(0, (struct worker){.name = "seen", .tells = true});
	snapshot_trace_drain();
	end(seen);
	struct worker *unseen = start(1, (struct worker){.name = "unseen", .tells = true});
	end(unseen); /* it came and went between two looks */
	snapshot_trace_drain();
	struct worker *last = start(2, (struct worker){.name = "last", .tells = true});
	finish();
	struct worker *all[] = {seen, unseen, last};
	for (int i = 0; i < 3; i++) {
		const struct trace_thread *t = thread_in_trace(all[i]->tid);
		CHECK(t && !t->was_there && t->has_ended == (i < 2) && strcmp(t->name, all[i]->name) == 0);
		CHECK(count_of(TRACE_BORN, all[i]->tid) == 1);
		CHECK(count_of(TRACE_ENDED, all[i]->tid) == (i < 2)); /* once, by itself */
	}
	give_back();
}

/* Born and cancelled in a wait between two looks: its birth is in the buffer, its record still says where it waited. */
static void cancelled(void)
{
	enum { NOBODY = 0x3fffff };
	struct worker *other = start(0, (struct worker){.name = "other"});
	begin();
	struct thread *t = threads_enter(NOBODY);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	CHECK(t);
	trace_add(&(struct trace_event){.start_ns = now_ns, .end_ns = now_ns, .kind = TRACE_BORN, .tid = NOBODY});
	t->wait.since_ns = now_ns;
	t->wait.frame.pc = 0x4711;
	shared_set_own(&t->wait.state, 1 << 8 | WAIT_pthread_cond_wait);
	snapshot_trace_drain();
	snapshot_trace_drain();
	finish();
	int waits, ends;
	const struct trace_event *wait = find_event(TRACE_COND, NOBODY, &waits),
				 *ended = find_event(TRACE_ENDED, NOBODY, &ends);
	CHECK(waits == 1 && ends == 1 && wait->start_ns == now_ns && wait->end_ns == ended->start_ns);
	CHECK(wait->stack && wait->stack->depth == 2 && wait->stack->pc[1] == 0x4711);
	CHECK(thread_in_trace(NOBODY) && thread_in_trace(NOBODY)->has_ended);
	give_back();
	end(other);
}

static void test_a_thread_that_is_cancelled_in_a_wait_ends_and_so_does_its_wait(void **state)
{
	(void)state;
	in_prepared_child(cancelled);
}

static void test_a_thread_that_tells_its_end_ends_once_and_is_named_however_short_it_lived(void **state)
{
	(void)state;
	in_prepared_child(tellers);
}

static void renamed(void)
{
	struct worker *w = start(0, (struct worker){.name = "first"});
	begin();
	snapshot_trace_drain();
	char path[64];
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", w->tid);
	int fd = (int)os_call(SYS_openat, -100, path, 1, 0);
	CHECK(fd >= 0 && os_write(fd, "second", 6) == 6);
	os_close(fd);
	finish();
	CHECK(strcmp(thread_in_trace(w->tid)->name, "second") == 0);
	give_back();
}

static void test_a_thread_has_the_name_that_it_has_at_the_end(void **state)
{
	(void)state;
	in_prepared_child(renamed);
}

static void many_threads(void)
{
	for (int i = 0; i < 100; i++)
		start(i, (struct worker){.how = BLOCKED});
	begin();
	for (int i = 100; i < 200; i++)
		start(i, (struct worker){.how = BLOCKED});
	snapshot_trace_drain();
	for (int i = 0; i < 200; i += 2)
		end(&workers[i]);
	finish();
	CHECK(snap.thread_count == 200);
	for (int i = 0; i < 200; i++) {
		const struct trace_thread *t = thread_in_trace(workers[i].tid);
		CHECK(t && t->was_there == (i < 100) && t->was_blocked == (i < 100) && t->has_ended == (i % 2 == 0));
		CHECK(count_of(TRACE_ENDED, t->tid) == t->has_ended);
	}
	give_back();
}

static void test_many_threads_are_all_there(void **state)
{
	(void)state;
	in_prepared_child(many_threads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_threads_there_are_known_and_whether_they_are_blocked),
		cmocka_unit_test(test_threads_that_come_and_go_are_found_and_their_ends_are_told),
		cmocka_unit_test(test_a_thread_that_tells_its_end_ends_once_and_is_named_however_short_it_lived),
		cmocka_unit_test(test_a_thread_that_is_cancelled_in_a_wait_ends_and_so_does_its_wait),
		cmocka_unit_test(test_a_thread_has_the_name_that_it_has_at_the_end),
		cmocka_unit_test(test_many_threads_are_all_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
