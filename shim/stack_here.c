/* stack_here.c - walk the calling thread's stack and intern it.
 *
 * Runs in: app's thread inside a hook. Any app lock may be held: no allocation but the arena's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack_here.h"

#include "shim/os.h"
#include "shim/sampler.h"

enum { DEPTH_MAX = 512,
       DEPTH_SMALL = 128 };

static size_t depth_most = DEPTH_SMALL; /* immutable after init */

void stack_here_start(size_t depth)
{
	depth_most = depth < DEPTH_MAX ? depth : DEPTH_MAX;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from)
{
	size_t most = depth_most, functions = function != 0;
	if (most > DEPTH_SMALL && !os_readable((char *)__builtin_frame_address(0) - most * sizeof(uintptr_t) - 4096))
		most = DEPTH_SMALL; /* a small stack: less of it is seen */
	uintptr_t pc[most + 1];
	pc[0] = function;
	return stacks_intern(pc, functions + unwind_walk(from, &sampler_thread.stack, pc + functions, most));
}
