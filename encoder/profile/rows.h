/* rows.h - a snapshot, or the difference of two, as rows: each row is one sample of the profile.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ROWS_H
#define PPROFSHIM_ROWS_H

#include "encoder/encoder.h"
#include "encoder/names/names.h"

struct row {
	const struct stack *stack;
	uint64_t class_bytes; /* heap: the label "bytes"; 0: none */
	const char *thread;   /* threadcreate, CPU: the label "thread"; NULL: none */
	int tid;              /* CPU: the label "tid"; 0: none */
	int64_t value[4];     /* as many as the kind has; for heap and contention, estimates of all events */
	int64_t raw[4];       /* heap: the values of the sampled blocks alone (for the text form) */
};
struct rows {
	uint64_t time_ns;
	uint64_t duration_ns; /* of a difference or a CPU profile; else 0 */
	uint64_t period;      /* heap: the rate in bytes; CPU: nanoseconds; else 1 */
	size_t unreached;     /* goroutine: threads without a stack; their row, if any, has dump_snapshot.unreached */
	size_t count;
	struct row *at;
};

/* Make the rows of now, or of now - before. Rows of zeros alone are left out. Returns 0, or -ENOMEM. */
int rows_make(struct region *r, struct rows *rows, const struct profile_snapshot *now,
              const struct profile_snapshot *before);

/* Give the stacks the frames of functions that ended in a jump to another, where they are certain (names/tails.h).
 * Returns 0, -ENOMEM or -EAGAIN. */
int rows_complete(struct rows *rows, enum profile_kind kind, struct names *names, struct patience *patience);

/* Does this thread have a stack to show in a profile? */
bool rows_reach(const struct dump_thread *t);

/* Sort the rows by what matters most in this kind of profile, the largest first: bytes in use, bytes allocated,
 * threads, samples or delay. */
void rows_sort(struct rows *rows, enum profile_kind kind);

#endif
