/* cpu_trace.h - the CPU samples of an execution trace.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CPU_TRACE_H
#define PPROFSHIM_CPU_TRACE_H

struct region;

/* A trace begins, goes on, ends. It shows the samples of a CPU profile while one is taken; otherwise samples are taken
 * for the trace alone, in this region. The first two return 0, or a negative errno: no samples for now. */
int cpu_trace_begins(struct region *r);
int cpu_trace_drain(struct region *r);
void cpu_trace_ends(void);

/* The child has no trace. */
void cpu_trace_fork_child(void);

#endif
