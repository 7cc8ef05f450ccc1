/* unwind.c - walk a stack by cached rules.
 *
 * Runs in: app's thread inside a hook (any app lock may be held), signal handler, listener.
 * So: no lock but the learner's (learn.c), and none in a handler.
 *
 * Memory: the walk reads the stack of the thread directly where that is known to be its stack: from the stack pointer
 * on up to its known end (struct stack_bounds). Other memory (coroutines, beyond a stack's end, alternate stacks) may
 * be unmapped by another thread the next moment, or may have been another stack's guard page. It is read in ways that
 * cannot fault, a piece at a time, and the next walk does not rely on it.
 *
 * A walk takes little of the program's stack itself (a piece of WINDOW_BYTES); learning runs on a stack of our own.
 *
 * Registers. A walk carries the program counter, the stack pointer and the frame pointer from frame to frame. Other
 * registers are known where a signal interrupted, and some tables (hand-written code) need them there, or a call or
 * two further out: the walk takes them for unchanged there, save those that functions keep for their callers. Where one
 * of these is needed, the listener looks for the place where a frame on the way saved it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/unwind.h"

#include <errno.h>

#include "shim/libc/modules.h"
#include "shim/stack/code.h"
#include "shim/stack/look.h"
#include "shim/stack/rules.h"
#include "shim/stack/step.h"

/* Addresses of frames that no stack shows; immutable after init. */
static struct {
	uintptr_t start, size;
} left_out;

void unwind_leave_out(const void *start, const void *end)
{
	left_out.start = (uintptr_t)start;
	left_out.size = (uintptr_t)end - (uintptr_t)start;
}

static struct unwind_rule learn(uintptr_t pc)
{
	uint32_t when = rules_forgettings();
	struct unwind_rule r = unwind_learn(pc);
	rules_keep(pc, r, when);
	return r;
}

static __attribute__((noinline)) struct unwind_rule learn_in_hook(uintptr_t pc)
{
	int saved = errno; /* libunwind's start sets it */
	struct unwind_rule r = learn(pc);
	errno = saved;
	return r;
}

static inline bool is_shown(uintptr_t pc)
{
	return pc - left_out.start >= left_out.size;
}

size_t unwind_walk(struct unwind_frame f, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                   enum stack_cut *cut)
{
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	int outcome;
	begin(&m, known, &f);
	m.may_learn = true;
	do {
		if (!rules_find(f.pc, &r))
			r = learn_in_hook(f.pc);
		outcome = r.kind == UNWIND_NOWHERE && m.has_stepped ? CUT_NOWHERE : n == max ? CUT_DEPTH : STEPPED;
		if (outcome != STEPPED)
			break;
		if (is_shown(f.pc))
			pc[n++] = f.pc;
	} while ((outcome = step(&f, r, &m, true)) == STEPPED);
	*cut = (enum stack_cut)outcome;
	return n;
}

/* The rule of an address that no walk has met: in a handler it is known only of code in no object. */
static bool find_known(uintptr_t pc, struct unwind_rule *r)
{
	if (rules_find(pc, r))
		return true;
	*r = (struct unwind_rule){.kind = UNWIND_CHAIN}; /* code made at run time: in no object, so without a table */
	return !modules_cover(pc) && code_is_at(pc) == CODE_YES;
}

size_t unwind_walk_known(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                         struct unwind_known *out)
{
	struct unwind_frame f = start;
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	int outcome = STEP_ASK;
	begin(&m, known, &f);
	*out = (struct unwind_known){.cut = CUT_NOT};
	do {
		bool shown = is_shown(f.pc);
		outcome = shown && n == max ? CUT_DEPTH : STEPPED;
		if (outcome != STEPPED)
			break;
		if (shown)
			pc[n++] = f.pc;
		out->rest = f;
		outcome = find_known(f.pc, &r) ? step(&f, r, &m, true) : STEP_ASK;
	} while (outcome == STEPPED);
	if (outcome == STEP_ASK &&
	    r.kind == UNWIND_OTHER) /* a register that has to be looked for, from the beginning */
		out->rest = start;
	if (outcome != STEP_ASK)
		*out = (struct unwind_known){.cut = (enum stack_cut)outcome};
	return n;
}

static struct unwind_rule rule_of(uintptr_t pc)
{
	struct unwind_rule r;
	return rules_find(pc, &r) ? r : learn(pc);
}

bool unwind_step_elsewhere(struct unwind_frame *f, struct unwind_elsewhere *e)
{
	struct memory m;
	begin(&m, &(struct stack_bounds){0}, f);
	m.elsewhere = e;
	m.may_learn = true;
	m.has_stepped = true;
	return step(f, rule_of(f->pc), &m, false) == STEPPED;
}

bool unwind_is_outermost(const struct unwind_frame *f)
{
	return rule_of(f->pc).kind == UNWIND_END;
}

size_t unwind_walk_elsewhere(struct unwind_frame f, struct unwind_elsewhere *e, uintptr_t *pc, size_t max)
{
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	int outcome = STEPPED;
	begin(&m, &(struct stack_bounds){0}, &f);
	m.elsewhere = e;
	m.may_learn = true;
	m.is_fresh = e->registers != NULL;
	e->start = f;
	e->passed = false;
	do {
		if (e->mark && f.sp == e->mark->sp && f.pc == e->mark->pc) {
			f.fp = e->mark->fp;
			e->passed = true;
		}
		r = rule_of(f.pc);
		outcome = r.kind == UNWIND_NOWHERE && (m.has_stepped || !e->is_leaf) ? CUT_NOWHERE : STEPPED;
		if (outcome != STEPPED)
			break;
		if (is_shown(f.pc)) {
			if (n == max) {
				outcome = CUT_DEPTH;
				break;
			}
			pc[n++] = f.pc;
		}
		if (f.fp == UNWIND_NO_FP)
			look_for_fp(&f, &r, e);
	} while ((outcome = step(&f, r, &m, false)) == STEPPED);
	e->cut = (enum stack_cut)outcome;
	return n;
}
