/* cpu_trace.c - the CPU samples of an execution trace.
 *
 * Runs in: listener.
 *
 * Every sample goes to the trace (cpu.c), whatever run took it. So a trace only needs that samples are taken: by a
 * profile, or, while there is none, by a run of its own, which ends when a profile begins.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/cpu_trace.h"

#include <errno.h>

#include "shim/base/layout.h"
#include "shim/profiles/cpu.h"

static struct cpu_run *own FORKED; /* the trace's run; it may have ended since */

int cpu_trace_begins(struct region *r)
{
	if (cpu_is_on())
		return 0;
	struct cpu_run *run = region_alloc(r, sizeof *run);
	if (!run)
		return -ENOMEM;
	*run = (struct cpu_run){.purpose = CPU_FOR_TRACE, .region = r};
	int error = cpu_begin(run);
	own = error ? NULL : run;
	return error;
}

int cpu_trace_drain(struct region *r)
{
	int error = cpu_trace_begins(r);
	if (own)
		cpu_drain(own);
	return error;
}

void cpu_trace_ends(void)
{
	if (own)
		cpu_end(own, CPU_TAKE_REST);
	own = NULL;
}

FORKED_CODE void cpu_trace_fork_child(void)
{
	own = NULL;
}
