/* look.c - find on the stack the registers that the kernel does not tell.
 *
 * Runs in: listener.
 * So: the stack is read through the walk's function, code by ways that cannot fault.
 *
 * The kernel does not tell the frame pointer of a blocked thread. It is found by how the stack must look there: it
 * points to the saved frame pointer and, above that, the return address, which must follow a call of this very
 * function. One frame further out there must be such an address again. Leftovers of earlier calls may fit, too. So the
 * search first looks at how far down the function certainly goes; where that does not help, no second candidate may
 * fit. A call through a register does not tell what it calls. Then the saved frame pointer must lead to another such
 * pair, or be that of the outermost frame. If nothing fits, or more than one candidate, the stack ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/look.h"

#include "shim/base/peek.h"
#include "shim/libc/modules.h"
#include "shim/stack/code.h"

enum {
	PAGE = 4096,
	WORD = sizeof(uintptr_t),
	STEP_MAX = 1 << 20, /* a frame that is looked for is no larger than this */
	FRAMES_MOST = 512,
};

enum call_kind { NO_CALL_BEFORE, CALLS_SOMETHING, CALLS_THIS };

/* The function that must have been called begins between these addresses. */
struct callee {
	uintptr_t first, last;
};
static const struct callee any = {0, UINTPTR_MAX};

static bool is_it(uintptr_t target, struct callee c)
{
	return target >= c.first && target <= c.last;
}

static bool is_any(struct callee c)
{
	return c.last == UINTPTR_MAX;
}

/* Does the word at `slot` hold this function's address? */
static enum call_kind by_slot(uintptr_t slot, struct callee c)
{
	uintptr_t value;
	return peek(slot, &value, sizeof value) && is_it(value, c) ? CALLS_THIS : NO_CALL_BEFORE;
}

/* A direct call may call the function, or a stub that jumps there. */
static enum call_kind by_target(uintptr_t target, struct callee c)
{
	unsigned char code[ARCH_STUB_BYTES];
	if (is_it(target, c))
		return CALLS_THIS;
	if (!peek(target, code, sizeof code))
		return NO_CALL_BEFORE;
	uintptr_t slot = arch_slot_of_stub(target, code);
	return slot ? by_slot(slot, c) : NO_CALL_BEFORE;
}

/* What call comes before this return address? */
static enum call_kind call_before(uintptr_t return_address, struct callee c)
{
	uintptr_t to;
	if (unwind_learn_return(return_address) != CODE_YES)
		return NO_CALL_BEFORE;
	switch (code_callee_before(return_address, &to)) {
	case ARCH_CALLS_NOTHING: return NO_CALL_BEFORE;
	case ARCH_CALLS_ADDRESS: return is_any(c) ? CALLS_SOMETHING : by_target(to, c);
	case ARCH_CALLS_BY_SLOT: return is_any(c) ? CALLS_SOMETHING : by_slot(to, c);
	default: return CALLS_SOMETHING;
	}
}

/* Does this frame's caller look like one? */
static bool has_a_caller(struct unwind_frame f, struct unwind_elsewhere *e)
{
	return unwind_is_outermost(&f) ||
	       (unwind_step_elsewhere(&f, e) && call_before(f.pc + 1, any) != NO_CALL_BEFORE);
}

/* Does a frame pointer point here? Then these words are the caller's frame pointer and a return address. */
static bool is_link(uintptr_t at, struct unwind_elsewhere *e)
{
	uintptr_t saved, return_address, next;
	return e->read(e->memory, at, &saved) && saved > at && saved - at <= STEP_MAX && saved % WORD == 0 &&
	       e->read(e->memory, at + WORD, &return_address) && call_before(return_address, any) != NO_CALL_BEFORE &&
	       e->read(e->memory, saved + WORD, &next) && call_before(next, any) != NO_CALL_BEFORE;
}

/* Is this the frame of that function? */
static bool is_the_frame(uintptr_t at, struct callee c, struct unwind_elsewhere *e)
{
	uintptr_t saved, return_address;
	if (!e->read(e->memory, at + WORD, &return_address))
		return false;
	enum call_kind kind = call_before(return_address, c);
	if (kind == NO_CALL_BEFORE || !e->read(e->memory, at, &saved))
		return false;
	bool is_outermost = saved < PAGE; /* libc's mark */
	if (kind == CALLS_SOMETHING && !is_any(c) && !is_outermost && !is_link(at, e))
		return false;
	return has_a_caller((struct unwind_frame){.pc = return_address - 1, .sp = at + 2 * WORD, .fp = saved}, e);
}

/* May another word further up be the frame, one that this frame does not lead to? */
static bool has_rivals(uintptr_t frame, uintptr_t end, struct callee c, struct unwind_elsewhere *e)
{
	uintptr_t next = frame;
	for (uintptr_t at = frame + WORD; at < end; at += WORD) {
		while (next < at) {
			uintptr_t up;
			next = e->read(e->memory, next, &up) && up > next && up % WORD == 0 ? up : UINTPTR_MAX;
		}
		if (next != at && (is_the_frame(at, c, e) || is_link(at, e)))
			return true;
	}
	return false;
}

/* How far below its frame pointer a function's stack pointer is while it calls others; 0: not known. (If the function
 * takes more in between, nothing fits at that distance.) */
static uintptr_t fixed_depth(uintptr_t function)
{
	unsigned char code[ARCH_PROLOGUE_BYTES];
	return peek(function, code, sizeof code) ? arch_fixed_depth(code) : 0;
}

/* Takes the first word that fits, if no other one does. */
static void search(struct unwind_frame *f, struct callee c, struct unwind_elsewhere *e)
{
	enum { FAR = 64 << 10 };
	uintptr_t word;
	for (uintptr_t at = f->sp; at - f->sp < FAR && e->read(e->memory, at, &word); at += WORD)
		if (is_the_frame(at, c, e)) {
			if (!has_rivals(at, f->sp + FAR, c, e))
				f->fp = at;
			return;
		}
}

/* Of code without tables we do not know where the function begins, but that it is no longer than this. */
void look_for_fp(struct unwind_frame *f, const struct unwind_rule *r, struct unwind_elsewhere *e)
{
	enum { MADE_FUNCTION_MOST = 64 << 10 };
	if (r->kind == UNWIND_CHAIN) {
		search(f, (struct callee){f->pc - MADE_FUNCTION_MOST, f->pc}, e);
		return;
	}
	if (r->kind != UNWIND_FP || r->cfa_offset != 2 * WORD || r->fp_at != 2 * WORD)
		return;
	uintptr_t function = unwind_function_start(f->pc), depth = function ? fixed_depth(function) : 0;
	if (depth && is_the_frame(f->sp + depth, any, e))
		f->fp = f->sp + depth;
	else if (function)
		search(f, (struct callee){function, function}, e);
}

/* The frames further in, one by one: each that saved the register has what it was further out. */
bool unwind_find_kept(struct unwind_elsewhere *e, uintptr_t sp, int number, uintptr_t *value)
{
	struct unwind_elsewhere rest = *e;
	struct unwind_frame f = e->start;
	*value = e->registers[number];
	for (int i = 0; i < FRAMES_MOST && f.sp < sp; i++) {
		int32_t at = unwind_learn_saved(f.pc, number);
		uintptr_t inner = f.sp;
		if (at < 0 || !unwind_step_elsewhere(&f, &rest))
			return false;
		if (at && f.sp - (uintptr_t)at >= inner && !e->read(e->memory, f.sp - (uintptr_t)at, value))
			return false;
		rest.registers = NULL;
	}
	return f.sp == sp;
}
