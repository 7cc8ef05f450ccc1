/* cpu.h - CPU profiling: one timer a thread on its CPU clock, samples through a ring.
 *
 * Runs in: listener (the profile itself: snapshot.h), signal handler (cpu_sample), new threads (cpu_thread_begins), under
 * threads.lock (cpu_forget).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CPU_H
#define PPROFSHIM_CPU_H

#include <stdint.h>

#include "shim/unwind.h"

struct thread;

/* A timer of the calling thread expired `weight` times while it was at f. Signal handler. */
void cpu_sample(struct unwind_frame f, uint32_t weight);

/* A thread begins: it gets a timer if a profile is being taken. On that thread. */
void cpu_thread_begins(struct thread *t);

/* The thread of this record has ended: its timer goes, too. */
void cpu_forget(struct thread *t);

/* The child has no profile. */
void cpu_fork_child(void);

#endif
