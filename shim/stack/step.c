/* step.c - unwinds one frame by rules that few frames have: signal frames, a CFA in other registers, guesses where
 * there is no table.
 *
 * Runs in: as unwind.c. So: in a handler it takes no lock, and answers STEP_ASK if learn.c must find the rule;
 * elsewhere it takes the learner's lock alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/step.h"

#include <string.h>

#include "shim/libc/modules.h"
#include "shim/stack/code.h"
#include "shim/stack/look.h"

enum { CHAIN_STEP_MAX = 1 << 20 /* a guessed frame is no larger than this */ };

bool step_read_by_window(struct memory *m, uintptr_t at, uintptr_t *value)
{
	if (at - m->at >= m->bytes || m->bytes - (at - m->at) < sizeof *value) {
		m->at = at - WORD; /* a frame pointer lies before the return address, which is asked for first */
		m->bytes = unwind_read_safely(m->window, m->at, sizeof m->window);
		if (m->bytes < sizeof m->window) {
			m->at = at;
			m->bytes = unwind_read_safely(m->window, at, sizeof *value);
		}
		if (m->bytes < sizeof *value)
			return false;
	}
	memcpy(value, m->window + (at - m->at), sizeof *value);
	return true;
}

/* Read the registers that a signal interrupted, from the ucontext that the kernel left at sp. The interrupted code may
 * run on another stack. */
FOR_EACH_MEMORY int step_signal(struct unwind_frame *f, struct memory *m, bool own)
{
	const ucontext_t *u = ARCH_CONTEXT_AT(f->sp);
	uintptr_t pc, sp, fp;
	if (!read_word(m, own, (uintptr_t)&ARCH_PC(u), &pc) || !read_word(m, own, (uintptr_t)&ARCH_SP(u), &sp) ||
	    !read_word(m, own, (uintptr_t)&ARCH_FP(u), &fp))
		return unreadable(m, own);
	*f = (struct unwind_frame){.pc = pc, .sp = sp, .fp = fp};
	m->context = (uintptr_t)u;
	m->is_fresh = true;
	if (own && !is_in(m->known, sp))
		begin_at(m, &(struct stack_bounds){0}, sp);
	return pc ? STEPPED : CUT_NOT;
}

/* Reads a register of the frame, in a walk of this thread's own stack. A register that a call may change counts as
 * unchanged: an unwind rule uses one only where no call changes it. A register that a call keeps is known only in the
 * first frame. */
static bool own_register(struct memory *m, const struct unwind_frame *f, int number, uintptr_t *value)
{
	if (number == ARCH_DWARF_SP || number == ARCH_DWARF_FP) {
		*value = number == ARCH_DWARF_SP ? f->sp : f->fp;
		return true;
	}
	if (!m->is_fresh && arch_is_kept(number))
		return false;
	if (m->context)
		return step_read_by_window(m, (uintptr_t)arch_register_at((ucontext_t *)m->context, number), value);
	if (!m->registers)
		return false;
	*value = (uintptr_t)*arch_register_at((ucontext_t *)m->registers, number);
	return true;
}

static bool elsewhere_register(struct memory *m, const struct unwind_frame *f, int number, uintptr_t *value)
{
	struct unwind_elsewhere *e = m->elsewhere;
	if (number == ARCH_DWARF_SP || number == ARCH_DWARF_FP) {
		*value = number == ARCH_DWARF_SP ? f->sp : f->fp;
		return number == ARCH_DWARF_SP || f->fp != UNWIND_NO_FP;
	}
	if (m->context)
		return (m->is_fresh || !arch_is_kept(number)) &&
		       e->read(e->memory, (uintptr_t)arch_register_at((ucontext_t *)m->context, number), value);
	if (!e->registers)
		return false;
	*value = e->registers[number];
	return m->is_fresh || !arch_is_kept(number) || unwind_find_kept(e, f->sp, number, value);
}

FOR_EACH_MEMORY bool read_register(struct memory *m, bool own, const struct unwind_frame *f, int number,
                                   uintptr_t *value)
{
	return own ? own_register(m, f, number, value) : elsewhere_register(m, f, number, value);
}

/* Steps by a rule that needs more than the stack and the frame pointer. */
FOR_EACH_MEMORY int step_other(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m, bool own)
{
	uintptr_t cfa, index = 0, return_address, fp = f->fp;
	if (!read_register(m, own, f, r->base, &cfa) ||
	    (r->index != UNWIND_NO_REGISTER && !read_register(m, own, f, r->index, &index)))
		return own && !m->may_learn && m->registers ? STEP_ASK : CUT_REGISTER;
	cfa += index * WORD;
	if (r->is_deref && !read_word(m, own, cfa + (uintptr_t)(intptr_t)r->deref_at, &cfa))
		return unreadable(m, own);
	cfa += (uintptr_t)(intptr_t)r->cfa_offset;
	if (cfa < f->sp || (cfa == f->sp && r->return_in == UNWIND_NO_REGISTER))
		return CUT_TABLE;
	if (r->return_in == UNWIND_NO_REGISTER) {
		if (!read_word(m, own, cfa - WORD, &return_address))
			return unreadable(m, own);
	} else if (!read_register(m, own, f, r->return_in, &return_address)) {
		return CUT_REGISTER;
	}
	if (r->fp_at < 0)
		fp = UNWIND_NO_FP;
	else if (r->fp_at && cfa - (uintptr_t)r->fp_at >= f->sp && !read_word(m, own, cfa - (uintptr_t)r->fp_at, &fp))
		return unreadable(m, own);
	*f = (struct unwind_frame){.pc = return_address - 1, .sp = cfa, .fp = fp};
	return return_address > PAGE ? STEPPED : CUT_NOT;
}

/* Is this a return address? A walk that may learn (learn.c, which takes a lock) never gets CODE_ASK. */
static enum code_answer is_return(const struct memory *m, uintptr_t return_address)
{
	enum code_answer answer = code_is_return(return_address);
	return answer == CODE_ASK && m->may_learn ? unwind_learn_return(return_address) : answer;
}

/* Is this an address in made code (of a just-in-time compiler)? Interpreters push a return address and then jump into
 * such code, so no call precedes that address. */
static enum code_answer is_made(const struct memory *m, uintptr_t return_address)
{
	if (modules_hold_code(return_address - 1))
		return CODE_NO;
	enum code_answer answer = code_is_at(return_address - 1);
	return answer == CODE_ASK && m->may_learn ? unwind_learn_code(return_address - 1) : answer;
}

/* Is this a frame record (saved fp, return address) of made code? The next record must lead to code, too. */
FOR_EACH_MEMORY enum code_answer is_made_link(struct memory *m, bool own, uintptr_t fp, uintptr_t saved,
                                              uintptr_t return_address)
{
	uintptr_t next;
	enum code_answer answer = is_made(m, return_address);
	if (answer == CODE_NO || saved <= fp || saved - fp > CHAIN_STEP_MAX || !read_word(m, own, saved + WORD, &next))
		return CODE_NO;
	enum code_answer further = is_return(m, next) == CODE_YES ? CODE_YES : is_made(m, next);
	return further == CODE_YES ? answer : further;
}

/* Where there is no table, the frame pointer may point to a frame record, or it is data. Interrupted code may have made
 * no frame yet: then the return address is at sp. A guess counts only if its return address follows a call, or lies in
 * made code and the next record leads to code, too. */
FOR_EACH_MEMORY int step_guessed(struct unwind_frame *f, struct memory *m, bool own)
{
	uintptr_t saved, return_address;
	enum code_answer answer = CODE_NO;
	if (f->fp < PAGE && m->has_stepped)
		return CUT_NOT; /* libc's mark of the outermost frame */
	if (f->fp >= f->sp && f->fp - f->sp <= CHAIN_STEP_MAX && read_word(m, own, f->fp, &saved) &&
	    read_word(m, own, f->fp + WORD, &return_address)) {
		if (return_address < PAGE)
			return CUT_NOT;
		answer = is_return(m, return_address);
		if (answer == CODE_NO)
			answer = is_made_link(m, own, f->fp, saved, return_address);
	}
	if (answer == CODE_YES) {
		*f = (struct unwind_frame){.pc = return_address - 1, .sp = f->fp + 2 * WORD, .fp = saved};
		return STEPPED;
	}
	bool is_interrupted = m->is_fresh && (m->registers || m->context || (!own && m->elsewhere->registers));
	if (answer == CODE_NO && is_interrupted && read_word(m, own, f->sp, &return_address)) {
		answer = is_return(m, return_address);
		if (answer == CODE_YES) {
			*f = (struct unwind_frame){.pc = return_address - 1, .sp = f->sp + WORD, .fp = f->fp};
			return STEPPED;
		}
	}
	return answer == CODE_ASK ? STEP_ASK : CUT_NO_TABLE;
}

FOR_EACH_MEMORY int step_rarely(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m, bool own)
{
	switch (r->kind) {
	case UNWIND_CHAIN: return step_guessed(f, m, own);
	case UNWIND_SIGNAL: return step_signal(f, m, own);
	case UNWIND_OTHER: return step_other(f, r, m, own);
	case UNWIND_END: return CUT_NOT;
	default: return CUT_TABLE;
	}
}

int step_own_rarely(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m)
{
	return step_rarely(f, r, m, true);
}

int step_elsewhere_rarely(struct unwind_frame *f, const struct unwind_rule *r, struct memory *m)
{
	return step_rarely(f, r, m, false);
}
