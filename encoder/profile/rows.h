/* rows.h - what a snapshot, or the difference of two, comes to: one row a sample of the profile.
 *
 * Runs in: listener. In the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ROWS_H
#define PPROFSHIM_ROWS_H

#include "encoder/encoder.h"

struct row {
	const struct stack *stack;
	uint64_t class_bytes; /* heap: the label "bytes"; 0: none */
	const char *thread;   /* threadcreate, CPU: the label "thread"; NULL: none */
	int tid;              /* CPU: the label "tid"; 0: none */
	int64_t value[4];     /* as many as the kind has; estimates of the whole, for heap and contention */
	int64_t raw[4];       /* heap: the sampled blocks themselves (the text form) */
};
struct rows {
	uint64_t time_ns;
	uint64_t duration_ns; /* of a difference and of the CPU profile; else 0 */
	uint64_t period;      /* heap: the rate in bytes; CPU: nanoseconds; else 1 */
	size_t unreached; /* goroutine: threads without a stack, in the row of dump_snapshot.unreached if there is one
	                   */
	size_t count;
	struct row *at;
};

/* Rows of now, or of now - before; all-zero ones are left out. 0, or -ENOMEM. */
int rows_make(struct region *r, struct rows *rows, const struct profile_snapshot *now,
              const struct profile_snapshot *before);

/* Is there something to show of this thread in a profile by stacks? */
bool rows_reach(const struct dump_thread *t);

/* The rows that a reader of this kind of profile looks for first: most bytes in use, or allocated, most threads or
 * samples, the longest delay. */
void rows_sort(struct rows *rows, enum profile_kind kind);

#endif
