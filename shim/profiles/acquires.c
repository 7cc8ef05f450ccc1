/* acquires.c - by which function a thread acquired the lock that it holds, for the mutex profile.
 *
 * Runs in: app's thread inside a hook, marked as busy. No lock of ours, no allocation.
 * Shared: `known`, two words an entry. Threads may write the two at once: a reader takes an entry only if they fit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/acquires.h"

#include "shim/base/shared.h"

enum { KNOWN = 256, SEVERAL = 1 };

/* The functions that jumped to an unlock, by lock and by the call that they came from. */
static struct {
	shared_u64 key; /* exclusive or the function */
	shared_u64 function;
} known[KNOWN];

static uint64_t key_of(uintptr_t lock, uintptr_t call)
{
	return ((uint64_t)lock * 0x9e3779b97f4a7c15u ^ call) * 0xff51afd7ed558ccdu | 1;
}

static uintptr_t look_up(uint64_t key)
{
	size_t i = key >> 56;
	uint64_t function = shared_load_relaxed(&known[i].function);
	return (shared_load_relaxed(&known[i].key) ^ function) == key ? function : 0;
}

static void keep(uint64_t key, uintptr_t function)
{
	size_t i = key >> 56;
	shared_store_relaxed(&known[i].function, function);
	shared_store_relaxed(&known[i].key, key ^ function);
}

void acquires_note(struct acquire *a, const struct wait_frame *from)
{
	enum stack_cut cut;
	struct unwind_frame f = {.pc = from->pc, .sp = from->sp, .fp = from->fp};
	a->sp = from->sp;
	a->depth = unwind_walk(f, &self.stack, a->pc, ACQUIRE_DEPTH, &cut);
}

/* Of the frames inside the one that is now the caller, the outermost is certain: it did not return there. */
static uintptr_t find_left(const struct acquire *a, uintptr_t pc, uintptr_t sp)
{
	for (size_t i = 1; i < a->depth && sp > a->sp; i++)
		if (a->pc[i] == pc)
			return a->pc[i - 1];
	return 0;
}

uintptr_t acquires_function(uintptr_t lock, const struct acquire *a, uintptr_t pc, uintptr_t sp)
{
	uint64_t key = key_of(lock, pc);
	uintptr_t before = look_up(key);
	if (!a)
		return before == SEVERAL ? 0 : before;
	uintptr_t left = find_left(a, pc, sp), function = left ? unwind_function_start(left) : 0;
	if (function && function != before)
		keep(key, before ? SEVERAL : function);
	return function;
}
