/* order.h - what each thread did, in order and without contradictions: what a trace is written from.
 *
 * Runs in: listener. Memory of the request's region: for each event 8 bytes to sort it and 24 for the result.
 *
 * If two threads used one tid, one after the other, the tid has two lives: each TRACE_BORN begins one. Within a life:
 * - nothing lies outside [start_ns, end_ns], and the life not outside the trace; waits wholly outside are left out;
 * - waits follow each other: one inside another is left out, one that overlaps the one before begins at its end;
 * - no wait follows one that is not over when the trace ends;
 * - points are in order; they may lie inside a wait.
 * An event after a thread's end, other than a birth, moves the end to the time of that event.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ORDER_H
#define PPROFSHIM_ORDER_H

#include "shim/snapshot.h"

#define TRACE_LASTS UINT64_MAX /* end_ns of a wait that is not over when the trace ends */

/* A wait, or a point. */
struct trace_item {
	const struct trace_event *event; /* NULL: the thread was blocked when the trace began, no event says in what */
	uint64_t start_ns, end_ns;       /* equal for a point */
};

struct trace_life {
	int tid;
	const char *name; /* one line of UTF-8, at most 255 bytes, never empty */
	uint64_t start_ns, end_ns;
	bool was_there; /* alive when the trace began, at start_ns; else start_ns is its birth, or when it was first
	                   seen */
	bool has_ended; /* at end_ns; else end_ns is the end of the trace */
	const struct trace_event *born;    /* NULL: its birth is not known */
	struct trace_item *waits, *points; /* points: TRACE_CPU, TRACE_HEAP, TRACE_LOG */
	size_t wait_count, point_count;
};

/* The lives of one tid. They are next to each other, the earliest first. */
struct trace_tid {
	int tid;
	size_t first, count;
};

struct trace_order {
	uint64_t begin_ns, end_ns;
	size_t count;
	struct trace_life *lives; /* of threads in the snapshot's order, then of threads that only events name */
	size_t tid_count;
	struct trace_tid *tids; /* sorted */
};

/* Put the snapshot's events in order. Returns 0, or -ENOMEM. */
int trace_order_make(struct trace_order *o, struct region *r, const struct trace_snapshot *s);

/* Find the life of this tid that was at work (in no wait) at `ns` and just before. A wait may begin at that moment,
 * but not end.
 * Returns NULL if there is none. */
const struct trace_life *trace_order_at_work(const struct trace_order *o, int tid, uint64_t ns);

/* Find the life of this tid at `ns`, at work or in a wait. Returns NULL if none was alive then. */
const struct trace_life *trace_order_alive(const struct trace_order *o, int tid, uint64_t ns);

/* Returns the first wait of a life that begins at `ns` or later; waits + wait_count: there is none. */
const struct trace_item *trace_life_next_wait(const struct trace_life *l, uint64_t ns);

/* Returns the TRACE_HEAP points of all threads, sorted by time, and their number in *count; NULL: no memory. */
const struct trace_item **trace_order_heap(const struct trace_order *o, struct region *r, size_t *count);

/* Returns the bytes in use after this event. They never fall below 0, though all numbers are estimates. */
uint64_t trace_heap_after(uint64_t in_use_bytes, const struct trace_event *heap);

/* Is the thread alive and in no wait when the trace ends? */
static inline bool trace_life_lasts_at_work(const struct trace_life *l)
{
	return !l->has_ended && (!l->wait_count || l->waits[l->wait_count - 1].end_ns != TRACE_LASTS);
}

#endif
