/* cpu.h - CPU samples: one timer a thread on its CPU clock, samples through a ring.
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

enum { CPU_EXPIRY_NS = 1000 }; /* what the timers are set to: sooner than the next tick */

/* The timer of the calling thread expired while it was at f; since the time before it had expired `overrun` times more.
 * Signal handler. Returns false where no samples are taken: that timer is to be silent. */
bool cpu_tick(struct unwind_frame f, int overrun);

/* The interval timer of the process expired, and this thread was taken. Signal handler. */
void cpu_interval(struct unwind_frame f);

struct sample;

/* Samples are taken from cpu_begin to cpu_end, for one user at a time. The memory is the user's. */
struct cpu_run {
	/* The user's, before cpu_begin. */
	enum cpu_purpose {
		CPU_FOR_PROFILE,
		CPU_FOR_TRACE, /* it ends where a run for a profile begins: a trace gets every sample anyway */
	} purpose;
	struct region *region;
	unsigned hz; /* asked for; 0: as the setting says */
	void (*take)(struct cpu_run *run, const struct sample *s, bool was_short); /* NULL: it keeps none */

	/* cpu_begin's */
	uint64_t time_ns, mono_ns;
	uint64_t period_ns; /* CPU time between two samples of a thread */
	struct comments comments;

	/* cpu.c's */
	bool is_over;
	bool by_interval; /* the fall-back */
	bool gave_up;     /* its timers, to the program */
	unsigned processors;
	uint64_t drains;
};

/* Listener. Returns 0; -EBUSY: a profile is taken; or another negative errno. */
int cpu_begin(struct cpu_run *run);

/* A profile is taken, or a trace has samples taken for itself. Listener. */
bool cpu_is_on(void);

/* Hand over what the handlers wrote so far. Listener. Returns in how many milliseconds it should be called again. */
unsigned cpu_drain(struct cpu_run *run);

/* Disarm, and hand over what is left, or not. Listener. Does nothing where the run is over already. */
enum cpu_rest { CPU_TAKE_REST, CPU_DROP_REST };
void cpu_end(struct cpu_run *run, enum cpu_rest rest);

/* The child has no run, no profile and no timers. */
void cpu_fork_child(void);
void cpu_profile_fork_child(void);

#endif
