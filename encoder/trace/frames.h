/* frames.h - the functions on the stacks of a trace, each address looked up once.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FRAMES_H
#define PPROFSHIM_FRAMES_H

#include "encoder/bytes/intern.h"
#include "encoder/names/names.h"
#include "shim/snapshot.h"

struct trace_frame {
	struct span function; /* one line of UTF-8, at most 4096 bytes, never empty */
	struct span file;     /* the same; empty: not known */
	uint32_t line;        /* 0: not known */
	uintptr_t address;
	bool is_other; /* an earlier frame has the same address, but lies in another object */
};

struct trace_frames {
	struct region *region;
	struct names names;
	struct intern stacks;            /* the snapshot's, by pointer */
	const struct stack **whole;      /* stack number n with the functions that ended in a jump (names/tails.h) */
	struct intern places, addresses; /* place number n is frame n */
	struct trace_frame *frames;
};

/* Look up the frames of all stacks of the snapshot. Returns 0, -ENOMEM or -EAGAIN (encoder.h). */
int trace_frames_make(struct trace_frames *f, struct region *r, const struct trace_snapshot *s, struct patience *p);

/* Returns a stack of that snapshot (NULL: NULL) with the functions that ended in a jump. */
const struct stack *trace_frames_stack(struct trace_frames *f, const struct stack *s);

/* Returns the number (an index of f->frames) of frame i of such a stack; i < s->depth. */
size_t trace_frames_number(struct trace_frames *f, const struct stack *s, size_t i);

#endif
