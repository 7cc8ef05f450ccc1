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

enum { DEPTH_MAX = 512, DEPTH_SMALL = 128 };

static size_t depth_most = DEPTH_SMALL; /* immutable after init */

struct place {
	struct place *older;
	uint32_t taken; /* atomic; 0: free, or the taker's generation; of another generation: free, too */
	uintptr_t pc[];
};
static struct place *newest FORKED; /* atomic */

void stack_here_start(size_t depth)
{
	depth_most = depth < DEPTH_MAX ? depth : DEPTH_MAX;
}

static bool take(struct place *p, uint32_t generation)
{
	uint32_t taken = __atomic_load_n(&p->taken, __ATOMIC_RELAXED);
	return taken != generation &&
	       __atomic_compare_exchange_n(&p->taken, &taken, generation, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static struct place *make(uint32_t generation)
{
	struct place *p = arena_alloc(sizeof *p + (depth_most + 1) * sizeof *p->pc);
	if (!p)
		return NULL;
	p->taken = generation;
	p->older = __atomic_load_n(&newest, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&newest, &p->older, p, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return p;
}

static struct place *take_any(void)
{
	uint32_t generation = __atomic_load_n(&house.generation, __ATOMIC_RELAXED);
	for (struct place *p = __atomic_load_n(&newest, __ATOMIC_ACQUIRE); p; p = p->older)
		if (take(p, generation))
			return p;
	return make(generation);
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from)
{
	struct place *p = take_any();
	size_t functions = function != 0;
	if (!p)
		return stacks_intern(&from.pc, 1);
	p->pc[0] = function;
	size_t depth = functions + unwind_walk(from, &self.stack, p->pc + functions, depth_most);
	struct stack *s = stacks_intern(p->pc, depth);
	__atomic_store_n(&p->taken, 0, __ATOMIC_RELEASE);
	return s;
}
