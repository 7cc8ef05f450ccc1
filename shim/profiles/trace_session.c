/* trace_session.c - an execution trace from beginning to end: which threads there are, CPU samples, and waits that
 * still last at the end.
 *
 * Runs in: listener. Everything here is its own; the buffer is trace_events.c's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/profiles/cpu_trace.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/snapshot.h"
#include "shim/stack/stacks.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/profiles/trace_events.h"

enum {
	DRAIN_LEAST_MS = 10, /* the precision of a thread's end that the thread does not report */
	SHARE = 30,          /* 1 / SHARE of the time may go into looking for these */
	COMMENTS_MOST = 8,
	THREADS_FIRST = 64,
};

struct session {
	struct region *region;
	uint64_t begin_ns, in_use_bytes;
	size_t thread_count, thread_room;
	struct trace_thread *threads; /* in the order they were met */
	size_t slot_count;            /* twice the room, a power of two */
	uint32_t *slots;              /* index into threads plus one, by tid */
	bool lost_threads, has_cpu;
	size_t comment_count;
	const char *comments[COMMENTS_MOST];
};

static struct session *session FORKED;
static struct pace_turn beginning; /* a trace begins, which lets others run meanwhile */

const char *trace_call_name(unsigned call)
{
	return waits_name(call);
}

const char *trace_log_category(unsigned category)
{
	return category == TRACE_LOG_DLCLOSE ? "dlclose" : "dlopen";
}

static void comment(struct session *s, const char *text)
{
	if (s->comment_count < COMMENTS_MOST)
		s->comments[s->comment_count++] = text;
}

static uint32_t *slot_of(const struct session *s, int tid)
{
	size_t i = ((uint32_t)tid * 0x9e3779b9u) & (s->slot_count - 1);
	while (s->slots[i] && s->threads[s->slots[i] - 1].tid != tid)
		i = (i + 1) & (s->slot_count - 1);
	return &s->slots[i];
}

/* Doubles the room. Returns false if there is no memory. */
static bool grow(struct session *s)
{
	size_t room = s->thread_room ? s->thread_room * 2 : THREADS_FIRST;
	struct trace_thread *threads = region_alloc(s->region, room * sizeof *threads);
	uint32_t *slots = region_alloc(s->region, 2 * room * sizeof *slots);
	if (!threads || !slots)
		return false;
	if (s->thread_count)
		memcpy(threads, s->threads, s->thread_count * sizeof *threads);
	s->threads = threads;
	s->slots = slots;
	s->slot_count = 2 * room;
	s->thread_room = room;
	for (size_t i = 0; i < s->thread_count; i++)
		*slot_of(s, threads[i].tid) = (uint32_t)i + 1;
	return true;
}

/* Returns the entry of a thread, a new one if need be; NULL: no memory. */
static struct trace_thread *thread_of(struct session *s, int tid)
{
	uint32_t *slot = s->slot_count ? slot_of(s, tid) : NULL;
	if (slot && *slot)
		return &s->threads[*slot - 1];
	if (s->thread_count == s->thread_room) {
		if (!grow(s)) {
			s->lost_threads = true;
			return NULL;
		}
		slot = slot_of(s, tid);
	}
	s->threads[s->thread_count] = (struct trace_thread){.tid = tid, .name = ""};
	*slot = (uint32_t)++s->thread_count;
	return &s->threads[s->thread_count - 1];
}

/* Notes the threads at the beginning, and which of them are blocked. */
static void note_first(struct session *s)
{
	size_t count;
	struct region scratch = {0};
	const int *tids = tasks_list(&scratch, &count);
	for (size_t i = 0; i < count; i++) {
		struct trace_thread *t = thread_of(s, tids[i]);
		if (!t)
			break;
		enum task_state state = tasks_look(t->tid).state;
		t->was_there = true;
		t->was_blocked = state == TASK_BLOCKED || state == TASK_SLEEPS;
		threads_enter(t->tid); /* makes a record, for its events */
		pace();
	}
	region_release(&scratch);
}

static uint64_t in_use_bytes(void)
{
	struct region scratch = {0};
	struct heap_snapshot heap;
	uint64_t bytes = 0;
	if (snapshot_heap(&scratch, &heap) == 0)
		for (size_t i = 0; i < heap.count; i++)
			bytes += heap.rows[i].scaled.alloc_bytes - heap.rows[i].scaled.free_bytes;
	region_release(&scratch);
	return bytes;
}

static int begin(struct region *r)
{
	struct session *s = region_alloc(r, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->region = r;
	note_first(s);
	s->in_use_bytes = in_use_bytes();
	int error = trace_open();
	if (error)
		return error;
	s->begin_ns = clock_ns(CLOCK_MONOTONIC);
	session = s;
	s->has_cpu = cpu_trace_begins(r) == 0;
	if (!s->has_cpu)
		comment(s, "no CPU samples: timers cannot be had");
	return 0;
}

/* The first who asks has the trace: others that run meanwhile are refused. */
int snapshot_trace_begin(struct region *r)
{
	if (session || pace_is_taken(&beginning) || !pace_take_turn(&beginning))
		return -EBUSY;
	int error = begin(r);
	pace_leave_turn(&beginning);
	return error;
}

static void name(struct session *s, struct trace_thread *t)
{
	const char *now = tasks_name(s->region, t->tid);
	if (now && strcmp(now, t->name) != 0)
		t->name = now;
}

/* A thread that was cancelled in a wait never returned from it: its record still shows the wait. */
static void add_cancelled_wait(const struct thread *record, uint64_t now_ns)
{
	struct wait w;
	if (!waits_read(&record->wait, &w) || !w.since_ns)
		return;
	unsigned call = waits_call(shared_own(&w.state));
	const uintptr_t pc[] = {waits_function(call), w.frame.pc};
	trace_add(&(struct trace_event){
		.start_ns = w.since_ns,
		.end_ns = now_ns,
		.stack = stacks_intern(pc, 2),
		.tid = shared_load_relaxed(&record->tid),
		.kind = (uint8_t)trace_kind_of(waits_view(call), w.object),
		.call = (uint8_t)call,
		.object = w.object,
	});
}

/* A thread that is gone without a report ended about now. */
static void note_end(struct trace_thread *t, uint64_t now_ns)
{
	struct thread *record = threads_facts(t->tid).thread;
	t->has_ended = true;
	if (record && !trace_end_is_told(record))
		add_cancelled_wait(record, now_ns);
	if (!record || !trace_end_is_told(record))
		trace_add(&(struct trace_event){
			.start_ns = now_ns, .end_ns = now_ns, .kind = TRACE_ENDED, .tid = t->tid});
}

/* Notes threads whose birth was reported since the last time: they may be gone before they are ever listed. */
static void note_births(struct session *s)
{
	size_t count;
	struct trace_chunk *chunks = trace_chunks(&count);
	for (size_t i = 0; i < count; i++) {
		struct trace_chunk *c = &chunks[i];
		for (uint32_t told = shared_load_acquire(&c->count); c->seen < told; c->seen++)
			if (c->at[c->seen].kind == TRACE_BORN) {
				struct trace_thread *t = thread_of(s, c->at[c->seen].tid);
				if (t)
					t->has_ended = false;
			}
	}
}

/* Notes which threads came and went. */
static void note_changes(struct session *s)
{
	size_t count;
	struct region scratch = {0};
	note_births(s);
	const int *tids = tasks_list(&scratch, &count);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	bool *lives = region_alloc(&scratch, s->thread_count + count + 1);
	if (!tids || !lives) {
		region_release(&scratch);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct trace_thread *t = thread_of(s, tids[i]);
		if (!t) { /* an unknown thread may be the one that seems gone */
			region_release(&scratch);
			return;
		}
		lives[t - s->threads] = true;
		t->has_ended = false; /* the tid is in use again */
		if (t->name[0] == '\0')
			name(s, t);
	}
	for (size_t i = 0; i < s->thread_count; i++)
		if (!lives[i] && !s->threads[i].has_ended)
			note_end(&s->threads[i], now_ns);
	region_release(&scratch);
}

unsigned snapshot_trace_drain(void)
{
	uint64_t before_ns = clock_ns(CLOCK_MONOTONIC);
	if (session->has_cpu)
		session->has_cpu = cpu_trace_drain(session->region) == 0;
	note_changes(session);
	uint64_t ms = (clock_ns(CLOCK_MONOTONIC) - before_ns) * SHARE / 1000000;
	if (trace_full_ns())
		return 0;
	return ms < DRAIN_LEAST_MS ? DRAIN_LEAST_MS : (unsigned)ms;
}

/* Adds a wait that still lasts. */
static void add_wait(const struct dump_thread *d, uint64_t end_ns)
{
	struct thread *record = threads_facts(d->tid).thread;
	struct wait w;
	if (!record || !d->stack || !waits_read(&record->wait, &w) || w.since_ns >= end_ns)
		return;
	unsigned call = waits_call(shared_own(&w.state));
	trace_add(&(struct trace_event){
		.start_ns = w.since_ns,
		.end_ns = UINT64_MAX,
		.stack = stacks_intern_at(d->stack->pc, d->stack->depth, d->stack->place),
		.tid = d->tid,
		.kind = (uint8_t)trace_kind_of(waits_view(call), w.object),
		.call = (uint8_t)call,
		.object = w.object,
	});
}

/* Adds all waits at the end; the dump tells their stacks. Called while the trace is on, so that waits that began in it
 * have a beginning. If a wait ends meanwhile, its thread reports it, too, with an end after the trace's. */
static void add_lasting_waits(struct session *s, uint64_t end_ns)
{
	struct dump_snapshot dump;
	struct region scratch = {0};
	if (snapshot_dump(&scratch, &dump) == 0)
		for (size_t i = 0; i < dump.count; i++)
			add_wait(&dump.threads[i], end_ns);
	else
		comment(s, "waits that lasted at the end are not shown: the profiler's own memory is used up");
	region_release(&scratch);
}

/* Every thread that wrote an event belongs to the trace. If it was too short-lived to be asked for its name, its last
 * event has it. */
static void note_tellers(struct session *s)
{
	size_t count;
	const struct trace_chunk *chunks = trace_chunks(&count);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < trace_chunk_count(&chunks[i]); k++) {
			const struct trace_event *e = &chunks[i].at[k];
			struct trace_thread *t = thread_of(s, e->tid);
			if (!t)
				return;
			t->has_ended |= e->kind == TRACE_ENDED && e->text[0];
			if (e->kind == TRACE_ENDED && e->text[0])
				t->name = e->text;
		}
}

/* Shell sort. */
static void sort_threads(struct session *s)
{
	for (size_t gap = s->thread_count / 2; gap > 0; gap /= 2)
		for (size_t i = gap; i < s->thread_count; i++) {
			struct trace_thread t = s->threads[i];
			size_t k = i;
			for (; k >= gap && s->threads[k - gap].tid > t.tid; k -= gap)
				s->threads[k] = s->threads[k - gap];
			s->threads[k] = t;
		}
}

int snapshot_trace_end(struct trace_snapshot *out)
{
	struct session *s = session;
	uint64_t full_ns = trace_full_ns(), end_ns = full_ns ? full_ns : clock_ns(CLOCK_MONOTONIC);
	if (full_ns)
		comment(s,
		        "the trace ends here: its buffer was full; raise PPROF_MEMORY_LIMIT, or ask for fewer seconds");
	note_changes(s);
	for (size_t i = 0; i < s->thread_count; i++)
		if (!s->threads[i].has_ended)
			name(s, &s->threads[i]);
	cpu_trace_ends();
	add_lasting_waits(s, end_ns);
	if (!trace_close())
		comment(s, "a thread was stopped while it wrote an event: that one is missing");
	note_tellers(s);
	sort_threads(s);
	if (trace_lost())
		comment(s, "some CPU samples, ends of threads or waits that last are missing: the buffer was full");
	if (s->lost_threads)
		comment(s, "threads are missing: the profiler's own memory is used up; raise PPROF_MEMORY_LIMIT");
	*out = (struct trace_snapshot){
		.begin_ns = s->begin_ns,
		.end_ns = end_ns,
		.in_use_bytes = s->in_use_bytes,
		.thread_count = s->thread_count,
		.threads = s->threads,
		.comment_count = s->comment_count,
		.comments = s->comments,
	};
	out->chunks = trace_chunks(&out->chunk_count);
	return 0;
}

FORKED_CODE void trace_session_fork_child(void)
{
	session = NULL;
}

void trace_session_begin_anew(void)
{
	if (!session && !trace_is_on())
		return;
	cpu_trace_fork_child(); /* its run ends in cpu_begin_anew */
	trace_close();
	snapshot_trace_release();
}

void snapshot_trace_release(void)
{
	trace_free();
	session = NULL;
}

void snapshot_trace_abandon(void)
{
	cpu_trace_ends();
	trace_close();
	snapshot_trace_release();
}
