/* cpu.h - CPU profiling: one timer a thread on its CPU clock, samples through a ring.
 *
 * Runs in: listener (the profile itself: snapshot.h), signal handler (cpu_tick, cpu_interval), ticks.c (the constant).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CPU_H
#define PPROFSHIM_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/stack/unwind.h"

enum { CPU_EXPIRY_NS = 1000 }; /* what the timers are set to: sooner than the next tick */

/* The timer of the calling thread expired while it was at f; since the time before it had expired `overrun` times more.
 * Signal handler. Returns false where no profile is taken: that timer is to be silent. */
bool cpu_tick(struct unwind_frame f, int overrun);

/* The interval timer of the process expired, and this thread was taken. Signal handler. */
void cpu_interval(struct unwind_frame f);

/* A trace begins, goes on, ends: it gets the samples of a profile while one is taken, and else has samples taken for
 * itself, which lie in this region. 0, or a negative errno: there are none for now. Listener. */
struct region;
int cpu_trace_begins(struct region *r);
int cpu_trace_drain(struct region *r);
void cpu_trace_ends(void);

/* The child has no profile. */
void cpu_fork_child(void);

#endif
