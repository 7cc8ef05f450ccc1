/* wait_over.c - the one place that reports a wait that is over: to the block profile, and to a trace.
 *
 * Runs in: app's thread inside a hook of hooks/wait.c, hooks/sleep.c or hooks/syscall.c, in a signal handler too. errno
 * is preserved.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/hooks/wait.h"

void hook_over_at(unsigned what, uintptr_t object, uint64_t since_ns, struct unwind_frame from)
{
	unsigned call = waits_call(what);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	if (what & HOOK_OF_THREADS)
		delays_waited(call, since_ns, now_ns, from, what & HOOK_OF_HANDLERS);
	if (trace_is_on())
		trace_waited(what & HOOK_AS_SYSCALL ? VIEW_SYSCALL : waits_view(call), call, object, since_ns, now_ns,
		             from);
}

void hook_over(unsigned what, uintptr_t object, uint64_t since_ns, const void *frame_address)
{
	hook_over_at(what, object, since_ns, unwind_frame_at(frame_address));
}
