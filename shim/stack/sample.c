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
#include "shim/base/cut.h"

enum { COPIES = 32, COPY_BYTES = 16 * 1024, OUTER_BYTES = 8 * 1024 };

/* Of a large stack: its inner end, and its outer end, where most of the frames are if a frame between them is huge. */
struct copy {
	shared_u32 taken;
	bool has_registers;
	struct piece {
		uintptr_t from;
		size_t bytes;
	} red_zone, inner, outer;
	uintptr_t registers[ARCH_DWARF_REGISTERS]; /* where the walk began */
	char stack[COPY_BYTES + OUTER_BYTES], below[ARCH_RED_ZONE_BYTES + 1];
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
	return (sizeof(struct sample) + (sample_depth() + 1) * sizeof(uintptr_t) + 63) & ~(size_t)63;
}

/* Copy up to `most` bytes of this thread's stack. */
static struct piece copy_stack(char *to, uintptr_t from, size_t most)
{
	const struct stack_bounds *known = &self.stack;
	if (from - known->lo >= known->hi - known->lo)
		return (struct piece){from, unwind_read_safely(to, from, most)};
	size_t bytes = known->hi - from < most ? known->hi - from : most;
	memcpy(to, (const void *)from, bytes);
	return (struct piece){from, bytes};
}

/* Where a signal interrupted, a function may have words below its stack pointer. */
static struct piece copy_red_zone(char *to, uintptr_t sp, const ucontext_t *registers)
{
	uintptr_t from = sp - ARCH_RED_ZONE_BYTES;
	return (struct piece){from, registers ? unwind_read_safely(to, from, ARCH_RED_ZONE_BYTES) : 0};
}

/* The main thread's stack ends with the program's arguments and environment, behind its frames. Immutable after
 * init. */
static struct {
	uintptr_t hi, frames_end;
} main_stack;

void sample_main_stack(uintptr_t hi, uintptr_t frames_end)
{
	main_stack.hi = hi;
	main_stack.frames_end = frames_end < hi ? frames_end : hi;
}

/* Where the outermost frames lie, if the end of the stack is known, and the inner piece does not reach it. */
static struct piece copy_outer(char *to, const struct piece *inner)
{
	uintptr_t end = self.stack.hi == main_stack.hi ? main_stack.frames_end : self.stack.hi;
	uintptr_t reached = inner->from + inner->bytes;
	if (inner->from < self.stack.lo || reached >= end)
		return (struct piece){0};
	uintptr_t from = end - reached > OUTER_BYTES ? end - OUTER_BYTES : reached;
	memcpy(to, (const void *)from, end - from);
	return (struct piece){from, end - from};
}

static void copy_registers(struct copy *c, const ucontext_t *u)
{
	c->has_registers = u != NULL;
	for (int i = 0; u && i < ARCH_DWARF_REGISTERS; i++)
		c->registers[i] = (uintptr_t)*arch_register_at((ucontext_t *)u, i);
}

static int take_copy(uintptr_t from, const ucontext_t *registers)
{
	struct copy *all = shared_load_acquire(&copies);
	for (int i = 0; all && i < COPIES; i++) {
		struct copy *c = &all[i];
		if (shared_load_relaxed(&c->taken) || shared_exchange_acquire(&c->taken, 1))
			continue;
		c->red_zone = copy_red_zone(c->below, from, registers);
		c->inner = copy_stack(c->stack, from, COPY_BYTES);
		c->outer = copy_outer(c->stack + COPY_BYTES, &c->inner);
		copy_registers(c, registers);
		return i;
	}
	return -1;
}

/* A frame that was not found to be code yet is not shown. */
static void give_up_rest(struct sample *s)
{
	s->is_short = true;
	s->cut = CUT_BUSY;
	if (s->depth > 1 && s->pc[s->depth - 1] == s->rest.pc && code_is_at(s->rest.pc) != CODE_YES)
		s->depth--;
}

void sample_take(struct sample *s, struct unwind_frame f)
{
	struct unwind_known known;
	s->tid = os_tid();
	memset(s->name, 0, sizeof s->name);
	os_call(SYS_prctl, PR_GET_NAME, s->name);
	s->depth = (uint16_t)unwind_walk_known(f, &self.stack, s->pc, sample_depth(), &known);
	s->place = modules_place_of(s->pc, s->depth);
	s->copy = -1;
	s->is_short = false;
	s->cut = (uint8_t)known.cut;
	s->rest = known.rest;
	if (!s->rest.pc)
		return;
	s->copy = (int16_t)take_copy(s->rest.sp, s->rest.registers);
	s->rest.registers = NULL; /* they are the handler's */
	if (s->copy < 0)
		give_up_rest(s);
}

static bool read_piece(const struct piece *p, const char *bytes, uintptr_t at, uintptr_t *value)
{
	if (at < p->from || p->bytes < sizeof *value || at - p->from > p->bytes - sizeof *value)
		return false;
	memcpy(value, bytes + (at - p->from), sizeof *value);
	return true;
}

static bool read_copy(void *memory, uintptr_t at, uintptr_t *value)
{
	const struct copy *c = memory;
	return read_piece(&c->inner, c->stack, at, value) || read_piece(&c->red_zone, c->below, at, value) ||
	       read_piece(&c->outer, c->stack + COPY_BYTES, at, value);
}

/* The first frame of the rest is the last one that the handler wrote, or a frame of ours that is not shown. */
static void finish_from_copy(struct sample *s)
{
	struct copy *c = &shared_own(&copies)[s->copy];
	size_t at = s->depth && s->pc[s->depth - 1] == s->rest.pc ? s->depth - 1u : s->depth;
	if (c->has_registers) /* from the beginning */
		at = 0;
	struct unwind_elsewhere e = {
		.read = read_copy,
		.memory = c,
		.registers = c->has_registers ? c->registers : NULL,
		.is_copy = true,
		.is_leaf = c->has_registers,
	};
	s->depth = (uint16_t)(at + unwind_walk_elsewhere(s->rest, &e, s->pc + at, sample_depth() - at));
	s->cut = (uint8_t)e.cut;
	if (!s->place)
		s->place = modules_place_of(s->pc + at, s->depth - at);
	sample_drop(s);
}

void sample_finish(struct sample *s)
{
	if (s->copy >= 0)
		finish_from_copy(s);
	s->depth = (uint16_t)cut_mark(s->pc, s->depth, (enum stack_cut)s->cut);
	s->cut = CUT_NOT;
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
