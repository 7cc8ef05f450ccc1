/* test_trace_session.c - traces of real threads: who is there, who comes and goes, what lasts at the end, and what is
 * told when something is missing.
 *
 * Runs in: its own process; the main thread of a child takes the trace, as the listener would.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/trace_session.c shim/profiles/trace_events.c shim/threads/threads.c shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/threads/tasks.c shim/base/powers.c shim/waits/waits.c shim/stack/stacks.c shim/profiles/sampling.c
 * links: shim/base/settings.c
 * links: shim/libc/clock.c shim/libc/real.c shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/places.c
 * links: test/unit/support/cut/heap_counts.c */
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
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/profiles/cpu_trace.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/settings.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/asker.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static int cpu_error;
static struct {
	int begun, drained, ended;
} cpu;

int cpu_trace_begins(struct region *r) /* cpu_trace.c's, these three */
{
	CHECK(r);
	cpu.begun++;
	return cpu_error;
}

int cpu_trace_drain(struct region *r)
{
	CHECK(r);
	cpu.drained++;
	return cpu_error;
}

void cpu_trace_ends(void)
{
	cpu.ended++;
}

static struct heap_row heap_rows[2];
int snapshot_heap(struct region *r, struct heap_snapshot *s) /* heap.c's, these two */
{
	(void)r;
	*s = (struct heap_snapshot){.count = COUNT(heap_rows), .rows = heap_rows};
	return 0;
}

static struct dump_snapshot dump;
static int dump_error;
int snapshot_dump(struct region *r, struct dump_snapshot *s) /* dump.c's */
{
	CHECK(r && trace_is_on()); /* a wait that is not there any more has told of itself */
	*s = dump;
	return dump_error;
}

void snapshot_count_contention(uint64_t counts[CONTENTION_KINDS]) /* delays.c's */
{
	counts[CONTENTION_BLOCK] = counts[CONTENTION_MUTEX] = 0;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from) /* here.c's */
{
	const uintptr_t pc[] = {function, from.pc};
	return stacks_intern(pc, COUNT(pc));
}

shared_u32 signals_users; /* signals.c's */
/* --- threads ------------------------------------------------------------------------------------- */

enum how { BLOCKED, BUSY };
static struct worker {
	const char *name; /* NULL: it keeps its parent's */
	enum how how;
	bool tells;  /* that it begins, and that it ends */
	int tid;     /* atomic */
	uint32_t go; /* atomic */
	pthread_t thread;
	struct thread_start start;
} workers[200];

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	if (w->name)
		prctl(PR_SET_NAME, w->name);
	if (w->tells) {
		struct thread_start *s = threads_prepare(stacks_intern((uintptr_t[]){0x400000}, 1), NULL, NULL),
				    copy = *s;
		struct thread *mine = threads_begin(s);
		if (self_hold()) {
			trace_born(mine, &copy);
			self_release();
		}
	}
	__atomic_store_n(&w->tid, os_tid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w->go, __ATOMIC_ACQUIRE))
		if (w->how == BLOCKED)
			os_futex_wait(&w->go, 0, NULL);
	if (w->tells)
		trace_ended();
	return NULL;
}

static void wait_until_blocked(int tid)
{
	char state = 0;
	for (int i = 0; i < 5000 && state != 'S'; i++) {
		char path[64], buf[512] = "";
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
		int fd = (int)os_open(path, O_RDONLY);
		CHECK(fd >= 0 && os_read(fd, buf, sizeof buf - 1) > 0);
		os_close(fd);
		state = strrchr(buf, ')')[2];
		usleep(1000);
	}
	CHECK(state == 'S');
}

static struct worker *start(int i, struct worker w)
{
	workers[i] = w;
	CHECK(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0);
	while (!__atomic_load_n(&workers[i].tid, __ATOMIC_ACQUIRE))
		usleep(200);
	if (w.how == BLOCKED)
		wait_until_blocked(workers[i].tid);
	return &workers[i];
}

static void end(struct worker *w)
{
	__atomic_store_n(&w->go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&w->go, 1);
	pthread_join(w->thread, NULL);
	while (os_call(SYS_tgkill, os_pid(), w->tid, 0) == 0) /* joined before the kernel is done with it */
		usleep(200);
}

/* --- traces --------------------------------------------------------------------------------------- */

static struct region region;
static struct trace_snapshot snap;

static void begin(void)
{
	CHECK(snapshot_trace_begin(&region) == 0);
}

static void finish(void)
{
	CHECK(snapshot_trace_end(&snap) == 0);
	CHECK(!trace_is_on());
	CHECK(snap.begin_ns && snap.end_ns >= snap.begin_ns);
	for (size_t i = 0; i < snap.thread_count; i++) {
		CHECK(snap.threads[i].name && (i == 0 || snap.threads[i].tid > snap.threads[i - 1].tid));
		CHECK(snap.threads[i].tid != os_pid()); /* the listener */
	}
	for (size_t i = 0; i < snap.chunk_count; i++)
		for (uint32_t k = 0; k < trace_chunk_count(&snap.chunks[i]);
		     k++) { /* whoever tells anything is among the threads */
			bool known = false;
			for (size_t t = 0; t < snap.thread_count; t++)
				known |= snap.threads[t].tid == snap.chunks[i].at[k].tid;
			CHECK(known);
		}
}

static void give_back(void)
{
	snapshot_trace_release();
	region_release(&region);
}

static const struct trace_thread *thread_in_trace(int tid)
{
	for (size_t i = 0; i < snap.thread_count; i++)
		if (snap.threads[i].tid == tid)
			return &snap.threads[i];
	return NULL;
}

static const struct trace_event *find_event(enum trace_kind kind, int tid, int *count)
{
	const struct trace_event *found = NULL;
	*count = 0;
	for (size_t i = 0; i < snap.chunk_count; i++)
		for (uint32_t k = 0; k < trace_chunk_count(&snap.chunks[i]); k++) {
			const struct trace_event *e = &snap.chunks[i].at[k];
			if (e->kind == kind && e->tid == tid)
				++*count, found = e;
		}
	return found;
}

static int count_of(enum trace_kind kind, int tid)
{
	int count;
	find_event(kind, tid, &count);
	return count;
}

static bool has_comment(const char *text)
{
	for (size_t i = 0; i < snap.comment_count; i++)
		if (strstr(snap.comments[i], text))
			return true;
	return false;
}

static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	threads_on_reuse(trace_forget);
	threads_start();
	clock_start();
	settings.memory_limit = 64 << 20;
}

static void in_prepared_child(void (*body)(void))
{
#ifdef __SANITIZE_THREAD__
	skip(); /* it has threads of its own */
#endif
	in_child_after(child_begin, body);
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
		cmocka_unit_test(test_the_threads_there_are_known_and_whether_they_are_blocked),
		cmocka_unit_test(test_threads_that_come_and_go_are_found_and_their_ends_are_told),
		cmocka_unit_test(test_a_thread_that_tells_its_end_ends_once_and_is_named_however_short_it_lived),
		cmocka_unit_test(test_a_thread_that_is_cancelled_in_a_wait_ends_and_so_does_its_wait),
		cmocka_unit_test(test_a_thread_has_the_name_that_it_has_at_the_end),
		cmocka_unit_test(test_many_threads_are_all_there),
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
