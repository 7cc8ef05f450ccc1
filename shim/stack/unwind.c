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
#include <string.h>
#include <ucontext.h>

#include "shim/libc/modules.h"
#include "shim/stack/code.h"
#include "shim/stack/look.h"
#include "shim/stack/rules.h"

enum {
	PAGE = 4096,
	WORD = sizeof(uintptr_t),
	WINDOW_BYTES = 2 * WORD,
	CHAIN_STEP_MAX = 1 << 20, /* a guessed frame is no larger than this */
};

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

static bool is_in(struct stack_bounds s, uintptr_t at)
{
	return at - s.lo < s.hi - s.lo;
}

/* The known stack is used only if this walk's stack pointer lies in it, and only from there on: the pages below may
 * never have been used. (The red zone is read, too, but by ways that cannot fault.) */
static void begin_at(struct memory *m, const struct stack_bounds *known, uintptr_t sp)
{
	m->lo = sp - ARCH_RED_ZONE_BYTES;
	m->bytes = 0;
	m->known = is_in(*known, sp) ? (struct stack_bounds){.lo = sp, .hi = known->hi} : (struct stack_bounds){0};
}

static void begin(struct memory *m, const struct stack_bounds *known, const struct unwind_frame *f)
{
	begin_at(m, known, f->sp);
	m->registers = f->registers;
	m->context = 0;
	m->is_fresh = true;
	m->may_learn = false;
	m->has_stepped = false;
}

static __attribute__((noinline)) bool read_by_window(struct memory *m, uintptr_t at, uintptr_t *value)
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

FOR_EACH_MEMORY bool read_word(struct memory *m, bool own, uintptr_t at, uintptr_t *value)
{
	if (at % WORD)
		return false;
	if (!own)
		return m->elsewhere->read(m->elsewhere->memory, at, value);
	if (at < m->lo)
		return false;
	if (!is_in(m->known, at))
		return read_by_window(m, at, value);
	*value = *(const uintptr_t *)at;
	return true;
}

FOR_EACH_MEMORY int unreadable(const struct memory *m, bool own)
{
	return own || !m->elsewhere->is_copy ? CUT_UNREADABLE : CUT_NEW_CODE;
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

/* Reads a register of the frame, in a walk of this thread's own stack. A register that a call may change is taken for
 * unchanged: a table that goes by it was written for code where no call changes it. */
static bool own_register(struct memory *m, const struct unwind_frame *f, int number, uintptr_t *value)
{
	if (number == ARCH_DWARF_SP || number == ARCH_DWARF_FP) {
		*value = number == ARCH_DWARF_SP ? f->sp : f->fp;
		return true;
	}
	if (!m->is_fresh && arch_is_kept(number))
		return false;
	if (m->context)
		return read_by_window(m, (uintptr_t)arch_register_at((ucontext_t *)m->context, number), value);
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

/* Is this a return address? In a walk that may learn the answer is yes or no. */
static enum code_answer is_return(const struct memory *m, uintptr_t return_address)
{
	enum code_answer answer = code_is_return(return_address);
	return answer == CODE_ASK && m->may_learn ? unwind_learn_return(return_address) : answer;
}

/* Does made code lie there? Interpreters jump to code that they made after they pushed the address to return to, so no
 * call comes before it. */
static enum code_answer is_made(const struct memory *m, uintptr_t return_address)
{
	if (modules_hold_code(return_address - 1))
		return CODE_NO;
	enum code_answer answer = code_is_at(return_address - 1);
	return answer == CODE_ASK && m->may_learn ? unwind_learn_code(return_address - 1) : answer;
}

/* Then the next link of the chain must lead to code, too. */
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

/* Where there is no table, the frame pointer may be a link of the chain of frames; or it is data. And where the code
 * was interrupted, it may have made no frame. A guess counts only if it leads behind a call. */
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
	case UNWIND_CHAIN: return step_guessed(f, m, own);
	case UNWIND_SIGNAL: return step_signal(f, m, own);
	case UNWIND_OTHER: return step_other(f, &r, m, own);
	case UNWIND_END: return CUT_NOT;
	default: return CUT_TABLE;
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
