/* cpu.h - CPU samples: one timer per thread on its CPU clock; samples go through a ring.
 *
 * Runs in: listener (a run), signal handler (cpu_tick, cpu_interval), ticks.c (the constant).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CPU_H
#define PPROFSHIM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/profiles/comments.h"
#include "shim/stack/unwind.h"

enum { CPU_EXPIRY_NS = 1000 }; /* the period of the timers: shorter than any tick */

/* The timer of the calling thread expired while it was at f, and `overrun` times more since the expiry before. Signal
 * handler.
 * Returns false if no samples are taken: then that timer must be silenced. */
bool cpu_tick(struct unwind_frame f, int overrun);

/* The interval timer of the process expired, and its signal came to this thread. Signal handler. */
void cpu_interval(struct unwind_frame f);

struct sample;

/* Samples are taken from cpu_begin to cpu_end, by one user at a time. The memory is the user's. */
struct cpu_run {
	/* The user's, before cpu_begin. */
	enum cpu_purpose {
		CPU_FOR_PROFILE,
		CPU_FOR_TRACE, /* it ends when a run for a profile begins: a trace gets every sample anyway */
	} purpose;
	struct region *region;
	unsigned hz; /* the rate asked for; 0: the setting's */
	void (*take)(struct cpu_run *run, const struct sample *s, bool was_short); /* NULL: keep no samples */

	/* cpu_begin's */
	uint64_t time_ns, mono_ns;
	uint64_t period_ns; /* CPU time between two samples of a thread */
	struct comments comments;

	/* cpu.c's */
	bool is_over;
	bool by_interval; /* the fall-back */
	bool gave_up;     /* its timers were given back to the program */
	unsigned processors;
	uint64_t drains;
};

/* Listener.
 * Returns 0; -EBUSY: a profile is being taken; or another negative errno. */
int cpu_begin(struct cpu_run *run);

/* Returns true if a profile is being taken, or samples for a trace alone. Listener. */
bool cpu_is_on(void);

/* Hands over the samples that the handlers wrote so far. Listener.
 * Returns in how many milliseconds to call it again. */
unsigned cpu_drain(struct cpu_run *run);

/* Hands over the samples, and does nothing else. Listener. */
void cpu_take(struct cpu_run *run);

/* Disarms the timers, and hands over the samples that are left, or drops them. Does nothing if the run is over already.
 * Listener. */
enum cpu_rest { CPU_TAKE_REST, CPU_DROP_REST };
void cpu_end(struct cpu_run *run, enum cpu_rest rest);

/* The child has no run, no profile and no timers. */
void cpu_fork_child(void);

/* A listener begins: ends a run that one which has ended left behind. */
void cpu_begin_anew(void);
void cpu_profile_fork_child(void);

#endif
