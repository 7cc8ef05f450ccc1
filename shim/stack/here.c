/* here.c - walk the calling thread's stack and intern it.
 *
 * Runs in: app's thread inside a hook. Any app lock may be held: no allocation but the arena's.
 * So: the stack found is written to memory of ours, not to the program's stack, which may be small.
 * Shared: the list of these places, linked by compare-and-exchange and never unlinked. Each belongs to the thread that
 * took it. There are as many as threads were ever here at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/here.h"

#include "shim/base/arena.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"
#include "shim/base/cut.h"

enum { DEPTH_MAX = 512, DEPTH_SMALL = 128 };

static size_t depth_most = DEPTH_SMALL; /* immutable after init */

struct place {
	struct place *older;
	shared_u32 taken; /* 0: free, or the taker's generation; of another generation: free, too */
	uintptr_t pc[];
};
static SHARED(struct place *) newest FORKED;

void stack_here_start(size_t depth)
{
	depth_most = depth < DEPTH_MAX ? depth : DEPTH_MAX;
}

static bool take(struct place *p, uint32_t generation)
{
	uint32_t taken = shared_load_relaxed(&p->taken);
	return taken != generation && shared_cas_acquire(&p->taken, &taken, generation);
}

static struct place *make(uint32_t generation)
{
	struct place *p = arena_alloc(sizeof *p + (depth_most + 3) * sizeof *p->pc);
	if (!p)
		return NULL;
	shared_set_own(&p->taken, generation);
	p->older = shared_load_relaxed(&newest);
	while (!shared_cas_release(&newest, &p->older, p))
		;
	return p;
}

static struct place *take_any(void)
{
	uint32_t generation = shared_load_relaxed(&house.generation);
	for (struct place *p = shared_load_acquire(&newest); p; p = p->older)
		if (take(p, generation))
			return p;
	return make(generation);
}

struct stack *stack_here_via(uintptr_t function, uintptr_t via, struct unwind_frame from)
{
	struct place *p = take_any();
	size_t functions = 0;
	if (!p)
		return stacks_intern(&from.pc, 1);
	if (function)
		p->pc[functions++] = function;
	if (via)
		p->pc[functions++] = via;
	enum stack_cut cut;
	size_t depth = functions + unwind_walk(from, &self.stack, p->pc + functions, depth_most, &cut);
	depth = cut_mark(p->pc, depth, cut);
	struct stack *s = stacks_intern(p->pc, depth);
	shared_store_release(&p->taken, 0);
	return s;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from)
{
	return stack_here_via(function, 0, from);
}
