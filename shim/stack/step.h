/* step.h - one step of a walk, from a frame to its caller's: for the walks of unwind.c, in which it is compiled.
 *
 * Runs in: as unwind.c. Steps by rules that few frames have are in step.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_STEP_H
#define PPROFSHIM_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "shim/arch/arch.h"
#include "shim/stack/rules.h"
#include "shim/stack/unwind.h"

enum {
	PAGE = 4096,
	WORD = sizeof(uintptr_t),
	WINDOW_BYTES = 2 * WORD,
};

/* How a walk reads memory: this thread's own directly, other memory through the caller's function. The functions below
 * are compiled once for each (always_inline, with a constant `own`). */
struct memory {
	struct stack_bounds known; /* believed to be readable */
	uintptr_t lo;              /* nothing below is read */
	uintptr_t at;              /* of the window */
	size_t bytes;
	char window[WINDOW_BYTES];
	struct unwind_elsewhere *elsewhere;
	const ucontext_t *registers; /* where the walk began; NULL: not known */
	uintptr_t context;           /* of the signal frame that the walk passed last; 0: none */
	bool is_fresh;               /* the frame is the one that these registers belong to */
	bool may_learn;
	bool has_stepped;
};
#define FOR_EACH_MEMORY static inline __attribute__((always_inline))

/* The result of a step, if it is not one of enum stack_cut. */
enum { STEPPED = -1, STEP_ASK = -2 };

static inline bool is_in(struct stack_bounds s, uintptr_t at)
{
	return at - s.lo < s.hi - s.lo;
}

/* The known stack is used only if this walk's stack pointer lies in it, and only from there on: the pages below may
 * never have been used. (The red zone is read, too, but by ways that cannot fault.) */
static inline void begin_at(struct memory *m, const struct stack_bounds *known, uintptr_t sp)
{
	m->lo = sp - ARCH_RED_ZONE_BYTES;
	m->bytes = 0;
	m->known = is_in(*known, sp) ? (struct stack_bounds){.lo = sp, .hi = known->hi} : (struct stack_bounds){0};
}

static inline void begin(struct memory *m, const struct stack_bounds *known, const struct unwind_frame *f)
{
	begin_at(m, known, f->sp);
	m->registers = f->registers;
	m->context = 0;
	m->is_fresh = true;
	m->may_learn = false;
	m->has_stepped = false;
}

/* Reads memory that is not known to be the stack, in a way that cannot fault. */
bool step_read_by_window(struct memory *m, uintptr_t at, uintptr_t *value);

FOR_EACH_MEMORY bool read_word(struct memory *m, bool own, uintptr_t at, uintptr_t *value)
{
	if (at % WORD)
		return false;
	if (!own)
		return m->elsewhere->read(m->elsewhere->memory, at, value);
	if (at < m->lo)
		return false;
	if (!is_in(m->known, at))
		return step_read_by_window(m, at, value);
	*value = *(const uintptr_t *)at;
	return true;
}

FOR_EACH_MEMORY int unreadable(const struct memory *m, bool own)
{
	return own || !m->elsewhere->is_copy ? CUT_UNREADABLE : CUT_NEW_CODE;
}

/* Steps by one of the rules that few frames have. Out of line, so that the walks do not each hold all of it. */
int step_own_rarely(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m);
int step_elsewhere_rarely(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m);

/* The caller's frame stays in registers: a copy of it is handed on. */
FOR_EACH_MEMORY int step_out_of_line(struct unwind_frame *f, struct unwind_rule r, struct memory *m, bool own)
{
	struct unwind_frame copy = *f;
	int outcome = own ? step_own_rarely(&copy, &r, m) : step_elsewhere_rarely(&copy, &r, m);
	*f = copy;
	return outcome;
}

/* Returns STEPPED; else why the stack ends here. */
FOR_EACH_MEMORY int step_by(struct unwind_frame *f, struct unwind_rule r, struct memory *m, bool own)
{
	uintptr_t cfa, return_address;
	switch (r.kind) {
	case UNWIND_SP: cfa = f->sp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP: cfa = f->fp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP_DEREF:
		if (!read_word(m, own, f->fp + (uintptr_t)(intptr_t)r.cfa_offset, &cfa) ||
		    !read_word(m, own, f->fp, &f->fp))
			return unreadable(m, own);
		break;
	default: return step_out_of_line(f, r, m, own);
	}
	if (cfa <= f->sp)
		return CUT_TABLE;
	if (!read_word(m, own, cfa - WORD, &return_address))
		return unreadable(m, own);
	if (r.fp_at && cfa - (uintptr_t)r.fp_at >= f->sp && /* below sp it has been popped: the register has it */
	    !read_word(m, own, cfa - (uintptr_t)r.fp_at, &f->fp))
		return unreadable(m, own);
	f->pc = return_address - 1;
	f->sp = cfa;
	return return_address > PAGE ? STEPPED : CUT_NOT;
}

FOR_EACH_MEMORY int step(struct unwind_frame *f, struct unwind_rule r, struct memory *m, bool own)
{
	bool was_signal = r.kind == UNWIND_SIGNAL;
	int outcome = step_by(f, r, m, own);
	m->is_fresh = was_signal;
	m->has_stepped = true;
	return outcome;
}

#endif
