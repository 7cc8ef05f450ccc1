/* sample.c - one stack as a signal handler takes it.
 *
 * Runs in: signal handler (sample_take), listener.
 * So: system calls and copies alone.
 * Shared: the copies; each is its taker's from the exchange of `taken` until the listener gives it back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/sample.h"

#include <string.h>
#include <sys/prctl.h>

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/settings.h"

enum { COPIES = 32, COPY_BYTES = 16 * 1024 };

struct copy {
	shared_u32 taken;
	uint32_t bytes;
	uintptr_t from;
	char stack[COPY_BYTES];
};
static SHARED(struct copy *) copies; /* never unmapped */

bool sample_start(void)
{
	if (!shared_own(&copies))
		shared_store_release(&copies, (struct copy *)arena_alloc_in(ARENA_RINGS, COPIES * sizeof(struct copy)));
	return shared_own(&copies) != NULL;
}

size_t sample_depth(void)
{
	return settings.stack_depth;
}

size_t sample_bytes(void)
{
	return (sizeof(struct sample) + sample_depth() * sizeof(uintptr_t) + 63) & ~(size_t)63;
}

/* Copy up to COPY_BYTES of this thread's stack. */
static size_t copy_stack(char *to, uintptr_t from)
{
	const struct stack_bounds *known = &self.stack;
	if (from - known->lo >= known->hi - known->lo)
		return unwind_read_safely(to, from, COPY_BYTES);
	size_t bytes = known->hi - from < COPY_BYTES ? known->hi - from : COPY_BYTES;
	memcpy(to, (const void *)from, bytes);
	return bytes;
}

static int take_copy(uintptr_t from)
{
	struct copy *all = shared_load_acquire(&copies);
	for (int i = 0; all && i < COPIES; i++) {
		if (shared_load_relaxed(&all[i].taken) || shared_exchange_acquire(&all[i].taken, 1))
			continue;
		all[i].from = from;
		all[i].bytes = (uint32_t)copy_stack(all[i].stack, from);
		return i;
	}
	return -1;
}

void sample_take(struct sample *s, struct unwind_frame f)
{
	s->tid = os_tid();
	memset(s->name, 0, sizeof s->name);
	os_call(SYS_prctl, PR_GET_NAME, s->name);
	s->depth = (uint16_t)unwind_walk_known(f, &self.stack, s->pc, sample_depth(), &s->rest);
	s->place = modules_place_of(s->pc, s->depth);
	s->copy = -1;
	s->is_short = false;
	if (s->rest.pc) {
		s->copy = (int16_t)take_copy(s->rest.sp);
		s->is_short = s->copy < 0;
	}
}

static bool read_copy(void *memory, uintptr_t at, uintptr_t *value)
{
	const struct copy *c = memory;
	if (at < c->from || at - c->from + sizeof *value > c->bytes)
		return false;
	memcpy(value, c->stack + (at - c->from), sizeof *value);
	return true;
}

/* The first frame of the rest is the last one that the handler wrote, or a frame of ours that is not shown. */
void sample_finish(struct sample *s)
{
	if (s->copy < 0)
		return;
	size_t at = s->depth && s->pc[s->depth - 1] == s->rest.pc ? s->depth - 1u : s->depth;
	struct unwind_elsewhere e = {.read = read_copy, .memory = &shared_own(&copies)[s->copy]};
	if (at < sample_depth())
		s->depth = (uint16_t)(at + unwind_walk_elsewhere(s->rest, &e, s->pc + at, sample_depth() - at));
	if (!s->place)
		s->place = modules_place_of(s->pc + at, s->depth - at);
	sample_drop(s);
}

void sample_drop(struct sample *s)
{
	if (s->copy >= 0)
		shared_store_release(&shared_own(&copies)[s->copy].taken, 0);
	s->copy = -1;
}

FORKED_CODE void sample_forget_late(void)
{
	struct copy *all = shared_own(&copies);
	for (int i = 0; all && i < COPIES; i++)
		if (shared_own(&all[i].taken)) /* a page that is not written stays shared with the parent */
			shared_set_own(&all[i].taken, 0);
}

FORKED_CODE void sample_fork_child(void)
{
	sample_forget_late();
}
