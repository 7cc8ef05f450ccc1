/* sample.h - one stack as a signal handler takes it, for the listener to finish.
 *
 * Runs in: signal handler (sample_take), listener (sample_finish).
 *
 * A handler learns no rules (unwind.h). Where it comes to code that was never met, it leaves a copy of the stack from
 * there on, and the listener walks that: so the handler is short, and the next sample finds the rules known.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SAMPLE_H
#define PPROFSHIM_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/stack/unwind.h"

struct sample {
	uint32_t ready; /* atomic; whose owner says what it means; ring.c, these three */
	uint32_t begun; /* atomic */
	uint32_t left;  /* atomic */
	int tid;
	char name[16];    /* of the thread */
	uint32_t weight;  /* periods that it stands for */
	uint64_t time_ns; /* CLOCK_MONOTONIC; taken in a trace alone */
	uint64_t place;   /* modules_place_of */
	uint16_t depth;
	int16_t copy;  /* number of the copy of the rest of the stack; negative: none */
	bool is_short; /* there was more, and no copy to be had */
	struct unwind_frame rest;
	uintptr_t pc[]; /* sample_depth() of them */
};

/* Memory for the copies, once. Listener. False: no memory; stacks will be short at first. */
bool sample_start(void);

size_t sample_depth(void);
size_t sample_bytes(void); /* of a struct sample */

/* The stack of the calling thread from f outwards. Signal handler. */
void sample_take(struct sample *s, struct unwind_frame f);

/* Walk the rest, give the copy back. Listener. */
void sample_finish(struct sample *s);

/* No handler writes now: copies that late ones never gave back can be had again. Listener. */
void sample_forget_late(void);

/* Give the copy back. Listener. */
void sample_drop(struct sample *s);

/* The child's handlers hold none. */
void sample_fork_child(void);

#endif
