/* sample.h - one stack as a signal handler takes it, for the listener to finish.
 *
 * Runs in: signal handler (sample_take), listener (sample_finish).
 *
 * A handler learns no rules (unwind.h). When it comes to code that no walk has met, it leaves a copy of the rest of the
 * stack, and the listener walks that. So the handler is short, and the next sample finds the rules known.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SAMPLE_H
#define PPROFSHIM_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/stack/unwind.h"

struct sample {
	shared_u32 ready; /* this and the next two: see ring.c */
	shared_u32 begun;
	shared_u32 left;
	int tid;
	char name[16];    /* of the thread */
	uint32_t weight;  /* periods that it stands for */
	uint64_t time_ns; /* CLOCK_MONOTONIC; taken in a trace alone */
	uint64_t place;   /* modules_place_of */
	uint16_t depth;
	int16_t copy;  /* number of the copy of the rest of the stack; negative: none */
	bool is_short; /* there was more, and no copy to be had */
	uint8_t cut;   /* enum stack_cut; the mark is in pc[] once the sample is finished */
	struct unwind_frame rest;
	uintptr_t pc[]; /* sample_depth() of them, and a mark */
};

/* Allocate the memory for the copies, once. Listener.
 * Returns false if there is no memory: then stacks are short at first. */
bool sample_start(void);

/* Init: where the main thread's stack ends (struct stack_bounds), and where its frames do. */
void sample_main_stack(uintptr_t hi, uintptr_t frames_end);

size_t sample_depth(void);
size_t sample_bytes(void); /* of a struct sample */

/* Take the stack of the calling thread from f outwards. Signal handler. */
void sample_take(struct sample *s, struct unwind_frame f);

/* Walk the rest, give the copy back. Listener. */
void sample_finish(struct sample *s);

/* Free the copies that late handlers never gave back, when no handler writes any more. Listener. */
void sample_forget_late(void);

/* Give the copy back. Listener. */
void sample_drop(struct sample *s);

/* In a fork child: no handler holds a copy. */
void sample_fork_child(void);

#endif
