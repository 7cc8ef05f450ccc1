/* order.h - what each thread did, in order and without contradictions: what a trace is written from.
 *
 * Runs in: listener. In the request's region: 8 bytes an event while it is made, 24 to keep.
 *
 * A tid that was used by two threads, one after the other, is two lives: each TRACE_BORN begins one. Within a life:
 * - nothing lies outside [start_ns, end_ns], and that not outside the trace; waits wholly outside are left out;
 * - waits follow each other: one inside another is left out, one that overlaps the one before begins at its end;
 * - no wait follows one that lasts when the trace ends;
 * - points are in order; they may lie inside a wait.
 * What comes after a thread's end, other than a birth, puts the end off.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ORDER_H
#define PPROFSHIM_ORDER_H

#include "shim/snapshot.h"

#define TRACE_LASTS UINT64_MAX /* end_ns of a wait that is not over when the trace ends */

/* A wait, or a point. */
struct trace_item {
	const struct trace_event *event; /* NULL: a wait that is known only by what the thread was at the beginning */
	uint64_t start_ns, end_ns;       /* of a point: the same */
};

struct trace_life {
	int tid;
	const char *name; /* one line of UTF-8, at most 255 bytes, never empty */
	uint64_t start_ns, end_ns;
	bool was_there; /* when the trace began, which is start_ns; otherwise it was born then, or first seen */
	bool has_ended; /* at end_ns; otherwise that is the trace's */
	const struct trace_event *born;    /* NULL: nothing is known of its birth */
	struct trace_item *waits, *points; /* points: TRACE_CPU, TRACE_HEAP, TRACE_LOG */
	size_t wait_count, point_count;
};

/* The lives of one tid, which are side by side. */
struct trace_tid {
	int tid;
	size_t first, count;
};

struct trace_order {
	uint64_t begin_ns, end_ns;
	size_t count;
	struct trace_life
		*lives; /* of the threads as the snapshot has them, then of others; of one tid the first first */
	size_t tid_count;
	struct trace_tid *tids; /* sorted */
};

/* 0, or -ENOMEM. */
int trace_order_make(struct trace_order *o, struct region *r, const struct trace_snapshot *s);

/* The life of this tid that was at work then, and already had been just before: not in a wait, which may begin at that
 * moment but not end. NULL: none. */
const struct trace_life *trace_order_at_work(const struct trace_order *o, int tid, uint64_t ns);

/* The same life or another one, waiting or not; NULL: none lived then. */
const struct trace_life *trace_order_alive(const struct trace_order *o, int tid, uint64_t ns);

/* The first wait of a life that does not begin before then; waits + wait_count: none. */
const struct trace_item *trace_life_next_wait(const struct trace_life *l, uint64_t ns);

/* The TRACE_HEAP of all threads by time; *count: how many. NULL: no memory. */
const struct trace_item **trace_order_heap(const struct trace_order *o, struct region *r, size_t *count);

/* The memory in use after it; at least 0, as all of them are estimates. */
uint64_t trace_heap_after(uint64_t in_use_bytes, const struct trace_event *heap);

#endif
