/* go.c - an execution trace in Go's version 1 format (encoder/FORMATS.md).
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Each thread's life has a G and a P of its own. When a thread creates another or ends its wait, that is a call,
 * written on the P of the thread that makes it. P 0 belongs to no thread; it has the events without a thread.
 *
 *   P 0         Gomaxprocs, GoCreate of the threads that were there, HeapAlloc; at the end frequency, stacks, strings
 *   P 1, 2, …   ProcStart, GoStart, { GoBlock…, GoUnblock, GoStart }, GoEnd or GoPreempt, ProcStop;
 *               a system call is { GoSysCall, GoSysBlock, ProcStop, GoSysExit, ProcStart, GoStart }
 *
 * Readers put the events of all Ps into one order, by their dependencies, and then require that times never decrease.
 * So no event may depend on a later one, nor two events of one time on each other. Therefore a call is written only if
 * its thread was at work just before, and ends a wait only if the wait began earlier. Otherwise the thread wakes
 * itself, or P 0 creates it.
 *
 * Times are in nanoseconds. The trace begins once the threads that were there have started: each starts a few
 * nanoseconds earlier, at a time of its own (Go's newer reader moves events of equal times apart, one by one).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/trace.h"

#include <errno.h>

#include "encoder/bytes/sort.h"
#include "encoder/trace/frames.h"
#include "encoder/trace/go_logs.h"
#include "encoder/trace/go_writer.h"
#include "encoder/trace/order.h"
#include "shim/base/pace.h"

enum { STAGE_NS = 4 }; /* between the starts of two threads that were there */

static const uint8_t block_event[TRACE_WAITS] = {
	[TRACE_SYNC] = GO_BLOCK_SYNC,     [TRACE_COND] = GO_BLOCK_COND, [TRACE_NET] = GO_BLOCK_NET,
	[TRACE_SELECT] = GO_BLOCK_SELECT, [TRACE_SLEEP] = GO_SLEEP,     [TRACE_SYSCALL] = GO_SYS_CALL,
};

/* What another thread, or P 0, does to a life: it creates it or ends its wait. */
struct go_call {
	uint64_t at_ns;
	uint32_t on_p;
	uint32_t life;
	uint32_t wait; /* index of the wait that ends; CREATES: it creates the life */
};
#define CREATES UINT32_MAX

/* Go's M. */
static uint64_t thread_of(const struct trace_life *l)
{
	return l->tid > 0 ? (uint64_t)l->tid : 0;
}

/* Returns the sequence number of a G when its wait number k begins: creation and start count one each, every wait
 * before it two. */
static uint64_t wait_sequence(size_t k)
{
	return 2 + 2 * k;
}

/* ---- the stage: what was there when the trace began ---- */

static void set_times(struct go_writer *w)
{
	uint64_t tick = 1;
	for (size_t i = 0; i < w->order.count; i++)
		if (w->order.lives[i].was_there)
			w->goroutines[i].start = tick += STAGE_NS;
	w->zero_ns = w->order.begin_ns - (tick + STAGE_NS);
	for (size_t i = 0; i < w->order.count; i++)
		if (!w->order.lives[i].was_there)
			w->goroutines[i].start = go_tick_of(w, w->order.lives[i].start_ns);
}

static void write_creation(struct go_writer *w, const struct trace_life *l, uint64_t tick, uint64_t stack)
{
	uint64_t start_stack = go_stack_id(w, NULL, l); /* the G is named after its root frame */
	EVENT(w, GO_CREATE, go_delta(w, tick), go_goroutine_of(w, l)->id, start_stack, stack);
}

/* ---- calls ---- */

/* Returns the thread that ended a wait, if the file can say so. (A system call must end by itself, or readers do not
 * count it as one.) */
static const struct trace_life *waker_of(const struct go_writer *w, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	if (!e || e->kind == TRACE_SYSCALL || wait->end_ns == TRACE_LASTS || !e->other_tid)
		return NULL;
	if (e->woken_ns <= wait->start_ns || e->woken_ns > wait->end_ns)
		return NULL;
	return trace_order_at_work(&w->order, e->other_tid, e->woken_ns);
}

static struct go_call birth_of(const struct go_writer *w, const struct trace_life *l)
{
	const struct trace_event *e = l->born;
	const struct trace_life *creator = NULL;
	uint64_t at = l->start_ns;
	if (e && e->created_ns >= w->order.begin_ns && e->created_ns <= l->start_ns) {
		at = e->created_ns;
		creator = trace_order_at_work(&w->order, e->creator_tid, at);
	}
	return (struct go_call){at, creator ? go_p_of(w, creator) : 0, (uint32_t)(l - w->order.lives), CREATES};
}

static void add_calls_to(struct go_writer *w, const struct trace_life *l, struct go_call *list)
{
	if (!l->was_there)
		list[w->call_count++] = birth_of(w, l);
	for (size_t k = 0; k < l->wait_count; k++) {
		const struct trace_life *waker = waker_of(w, &l->waits[k]);
		if (waker)
			list[w->call_count++] = (struct go_call){l->waits[k].event->woken_ns, go_p_of(w, waker),
			                                         (uint32_t)(l - w->order.lives), (uint32_t)k};
	}
}

static size_t count_calls(const struct go_writer *w)
{
	size_t count = w->order.count; /* births */
	for (size_t i = 0; i < w->order.count; i++)
		for (size_t k = 0; k < w->order.lives[i].wait_count; k++)
			count += waker_of(w, &w->order.lives[i].waits[k]) != NULL;
	return count;
}

static bool call_before(const void *first, const void *second)
{
	const struct go_call *a = first, *b = second;
	if (a->on_p != b->on_p)
		return a->on_p < b->on_p;
	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns;
	return a->life != b->life ? a->life < b->life : a->wait < b->wait;
}

static int find_calls(struct go_writer *w)
{
	w->calls = region_alloc(w->region, count_calls(w) * sizeof *w->calls + 1);
	if (!w->calls)
		return -ENOMEM;
	for (size_t i = 0; i < w->order.count; i++)
		add_calls_to(w, &w->order.lives[i], w->calls);
	sort_items(w->calls, w->call_count, sizeof *w->calls, call_before);
	return 0;
}

/* Write the call of `by`; NULL: of no thread, on P 0. */
static void write_call(struct go_writer *w, const struct go_call *c, const struct trace_life *by)
{
	const struct trace_life *l = &w->order.lives[c->life];
	uint64_t tick = go_tick_of(w, c->at_ns);
	if (c->wait == CREATES) {
		write_creation(w, l, tick, by ? go_stack_id(w, l->born->stack, by) : 0);
		return;
	}
	uint64_t stack = go_stack_id(w, l->waits[c->wait].event->woken_by, by);
	EVENT(w, GO_UNBLOCK, go_delta(w, tick), go_goroutine_of(w, l)->id, wait_sequence(c->wait), stack);
}

/* ---- a life ---- */

/* How far a life has been written. */
struct turn {
	const struct trace_life *life;
	const struct go_call *call, *calls_end; /* the calls that it makes */
	const struct trace_item *point, *points_end;
};

static bool begins_syscall(const struct trace_life *l, uint64_t ns)
{
	const struct trace_item *w = trace_life_next_wait(l, ns);
	for (; w < l->waits + l->wait_count && w->start_ns == ns; w++)
		if (w->event && w->event->kind == TRACE_SYSCALL)
			return true;
	return false;
}

/* Readers treat samples as a batch of their own. A sample must not have the time at which its G is created, nor lie
 * between the two events that begin a system call. If so, move it by 1 or 2 ns; false: there is no room. */
static bool find_sample_time(const struct go_writer *w, const struct trace_life *l, uint64_t *ns)
{
	static const int moves[] = {0, -1, 1, 2};
	for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
		uint64_t at = *ns + (uint64_t)moves[i];
		if (go_tick_of(w, at) > go_goroutine_of(w, l)->start && !begins_syscall(l, at)) {
			*ns = at;
			return true;
		}
	}
	return false;
}

static void write_sample(struct go_writer *w, const struct trace_life *l, const struct trace_item *point)
{
	uint64_t ns = point->start_ns;
	if (find_sample_time(w, l, &ns))
		EVENT(w, GO_CPU_SAMPLE, 0, go_tick_of(w, ns), go_p_of(w, l), go_goroutine_of(w, l)->id,
		      go_stack_id(w, point->event->stack, l));
}

/* Write the remaining calls and points up to the wait (NULL: up to the end of the life), and the points within it:
 * its logs at its beginning, as only a thread at work can log. */
static void write_work(struct go_writer *w, struct turn *t, const struct trace_item *wait)
{
	uint64_t work_ns = wait ? wait->start_ns : UINT64_MAX, until_ns = wait ? wait->end_ns : UINT64_MAX;
	for (;;) {
		bool has_call = t->call < t->calls_end && t->call->at_ns <= work_ns;
		bool has_point =
			t->point < t->points_end && (t->point->start_ns <= work_ns || t->point->start_ns < until_ns);
		if (has_call && (!has_point || t->call->at_ns <= t->point->start_ns)) {
			write_call(w, t->call++, t->life);
			continue;
		}
		if (!has_point)
			return;
		const struct trace_item *p = t->point++;
		if (p->event->kind == TRACE_CPU)
			write_sample(w, t->life, p);
		else if (p->event->kind == TRACE_LOG)
			go_write_log_event(w, t->life, p->event,
			                   go_tick_of(w, p->start_ns < work_ns ? p->start_ns : work_ns));
	}
}

static void write_wait(struct go_writer *w, const struct trace_life *l, size_t k)
{
	const struct trace_item *wait = &l->waits[k];
	const struct trace_event *e = wait->event;
	uint64_t g = go_goroutine_of(w, l)->id, end = go_tick_of(w, wait->end_ns);
	uint64_t stack = go_stack_id(w, e ? e->stack : NULL, l);
	bool is_syscall = e && e->kind == TRACE_SYSCALL;
	EVENT(w, e ? block_event[e->kind] : GO_BLOCK, go_delta(w, go_tick_of(w, wait->start_ns)), stack);
	if (is_syscall) {
		EVENT(w, GO_SYS_BLOCK, 0);
		EVENT(w, GO_PROC_STOP, 0); /* Go takes the P away; its viewer (1.26) fails if the P is still there */
	}
	if (wait->end_ns == TRACE_LASTS)
		return;
	if (waker_of(w, wait)) {
		EVENT(w, GO_START, go_delta(w, end), g, wait_sequence(k) + 1);
	} else {
		if (is_syscall) {
			EVENT(w, GO_SYS_EXIT, go_delta(w, end), g, wait_sequence(k), 0);
			EVENT(w, GO_PROC_START, 0, thread_of(l));
		} else {
			EVENT(w, GO_UNBLOCK_LOCAL, go_delta(w, end), g, stack);
		}
		EVENT(w, GO_START_LOCAL, 0, g);
	}
	go_write_contention(w, l, wait);
}

static void write_start(struct go_writer *w, const struct trace_life *l)
{
	const struct go_goroutine *g = go_goroutine_of(w, l);
	uint64_t p_start = g->start - l->was_there;
	go_begin_batch(w, go_p_of(w, l), p_start);
	EVENT(w, GO_PROC_START, 0, thread_of(l));
	EVENT(w, GO_START_LOCAL, go_delta(w, g->start), g->id);
	if (!trace_life_lasts_at_work(l))
		go_write_comments(w, l, w->now);
}

static bool lasts_in_syscall(const struct trace_life *l)
{
	const struct trace_item *last = l->wait_count ? &l->waits[l->wait_count - 1] : NULL;
	return last && last->end_ns == TRACE_LASTS && last->event && last->event->kind == TRACE_SYSCALL;
}

/* Stop a thread that is at work at the end, as Go does: its viewer (1.19) fails at a start that nothing follows. */
static void write_finish(struct go_writer *w, const struct trace_life *l)
{
	uint64_t end = go_tick_of(w, l->end_ns);
	if (l->has_ended) {
		EVENT(w, GO_END, go_delta(w, end));
	} else if (trace_life_lasts_at_work(l)) {
		go_write_comments(w, l, end);
		EVENT(w, GO_PREEMPT, go_delta(w, end), go_stack_id(w, NULL, l));
	} else if (lasts_in_syscall(l)) {
		return; /* its P has stopped */
	}
	EVENT(w, GO_PROC_STOP, 0);
}

static void write_life(struct go_writer *w, const struct trace_life *l, const struct go_call **call)
{
	struct turn t = {.life = l,
	                 .call = *call,
	                 .calls_end = *call,
	                 .point = l->points,
	                 .points_end = l->points + l->point_count};
	while (t.calls_end < w->calls + w->call_count && t.calls_end->on_p == go_p_of(w, l))
		t.calls_end++;
	*call = t.calls_end;
	write_start(w, l);
	for (size_t k = 0; k < l->wait_count; k++) {
		write_work(w, &t, &l->waits[k]);
		write_wait(w, l, k);
	}
	write_work(w, &t, NULL);
	write_finish(w, l);
}

/* ---- P 0 ---- */

static void write_heap(struct go_writer *w, uint64_t ns, uint64_t in_use)
{
	EVENT(w, GO_HEAP_ALLOC, go_delta(w, go_tick_of(w, ns)), in_use);
}

static void write_stage(struct go_writer *w)
{
	go_begin_batch(w, 0, 1);
	EVENT(w, GO_GOMAXPROCS, 0, w->order.count + 1, 0);
	for (size_t i = 0; i < w->order.count; i++)
		if (w->order.lives[i].was_there)
			write_creation(w, &w->order.lives[i], w->goroutines[i].start, 0);
}

/* Write the threads that were there, births without a known creator, and the heap. */
static void write_nobody(struct go_writer *w, const struct go_call **call)
{
	const struct go_call *c = w->calls, *calls_end = w->calls + w->call_count;
	size_t count, i = 0;
	const struct trace_item **heap = trace_order_heap(&w->order, w->region, &count);
	uint64_t in_use = w->snapshot->in_use_bytes;
	if (!heap) {
		w->failed = true;
		return;
	}
	write_stage(w);
	write_heap(w, w->order.begin_ns, in_use);
	while (i < count || (c < calls_end && !c->on_p)) {
		if (i == count || (c < calls_end && !c->on_p && c->at_ns <= heap[i]->start_ns)) {
			write_call(w, c++, NULL);
			continue;
		}
		in_use = trace_heap_after(in_use, heap[i]->event);
		write_heap(w, heap[i++]->start_ns, in_use);
	}
	write_heap(w, w->order.end_ns, in_use); /* else the counter would seem to end at the last change */
	*call = c;
	go_write_comments(w, NULL, go_tick_of(w, w->order.end_ns));
}

/* Returns 0, -ENOMEM or -EAGAIN. */
static int prepare(struct go_writer *w, struct patience *patience)
{
	int rc = trace_frames_make(&w->frames, w->region, w->snapshot, patience);
	if (rc < 0)
		return rc;
	if (trace_order_make(&w->order, w->region, w->snapshot) < 0 || go_prepare_names(w) < 0)
		return -ENOMEM;
	set_times(w);
	go_choose_teller(w);
	return find_calls(w);
}

int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *patience)
{
	struct go_writer *w = region_alloc(r, sizeof *w);
	const struct go_call *call = NULL;
	if (!w)
		return -ENOMEM;
	*w = (struct go_writer){.region = r, .out = o, .snapshot = s};
	int rc = prepare(w, patience);
	if (rc < 0)
		return rc;
	out_bytes(o, "go 1.19 trace\0\0\0", 16);
	write_nobody(w, &call);
	for (size_t i = 0; i < w->order.count && !w->failed && !o->failed && !pace(); i++)
		write_life(w, &w->order.lives[i], &call);
	go_write_tables(w);
	return w->failed || o->failed ? -ENOMEM : 0;
}
