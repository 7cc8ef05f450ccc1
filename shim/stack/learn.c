/* learn.c - the rule of one address, taken out of libunwind by a trial step.
 *
 * Runs in: app's thread inside a hook, or the listener, once for each address that is met in a stack.
 * So: libunwind is used through its remote interface alone, whose accessors are ours: it opens nothing, asks no loader,
 * and reads no stack. Its own locks are idle (shim/stack/unwind_libc.c): the LEARN lock here keeps threads apart.
 *
 * How: the step starts with made-up register values that stand for the registers (FAKE), far apart in an address range
 * that no program has. The addresses where the step looks for the return address and the saved frame pointer tell how
 * the caller's frame is computed here, in terms of registers and of words that they point to. Whatever the tables use
 * (offsets, expressions, aligned frames), the outcome is one of a few rules.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <libunwind.h>
#include <string.h>

#include "shim/arch/arch.h"
#include "shim/base/layout.h"
#include "shim/base/losses.h"
#include "shim/base/shared.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/stack/fake.h"
#include "shim/stack/own_stack.h"
#include "shim/stack/tables.h"
#include "shim/base/peek.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/stack/unwind.h"
#include "shim/stack/unwind_libc.h"

enum { WORD = sizeof(uintptr_t) };

static struct {
	struct lock lock;
	struct own_stack stack; /* under lock: libunwind takes some 6 KiB */
} learner FORKED;

/* Returns where a register is kept: n for cfa - n; 0: still in the register; negative: nobody knows. */
static int32_t read_saved(unw_cursor_t *c, uintptr_t cfa, int number)
{
	unw_save_loc_t loc;
	if (unw_get_save_loc(c, number, &loc) < 0)
		return -1;
	if (loc.type == UNW_SLT_REG)
		return loc.u.regnum == number ? 0 : -1;
	if (loc.type != UNW_SLT_MEMORY)
		return 0;
	return cfa > loc.u.addr && cfa - loc.u.addr < WINDOW ? (int32_t)(cfa - loc.u.addr) : -1;
}

/* Is this the frame that the kernel made for a handler? Its tables find both the stack pointer and the program counter
 * of the interrupted code where the kernel keeps them. (A table that finds the stack pointer in a word of the frame and
 * the return address below that is one of a frame that aligned its stack.) */
static bool is_signal(const struct meaning *cfa, const unw_save_loc_t *return_at)
{
	const ucontext_t *u = ARCH_CONTEXT_AT((uintptr_t)0);
	return cfa->is_deref && cfa->base == ARCH_DWARF_SP && cfa->offset == 0 &&
	       cfa->at == (int32_t)(uintptr_t)&ARCH_SP(u) && return_at->type == UNW_SLT_MEMORY &&
	       return_at->u.addr == FAKE(ARCH_DWARF_SP) + (uintptr_t)&ARCH_PC(u);
}

static void set_other(struct unwind_rule *r, const struct meaning *cfa, int return_in)
{
	r->kind = UNWIND_OTHER;
	r->base = (uint8_t)cfa->base;
	r->index = cfa->index;
	r->is_deref = cfa->is_deref;
	r->deref_at = cfa->at;
	r->return_in = (uint8_t)return_in;
}

/* The kinds that fit in a word, where they do. */
static struct unwind_rule rule_from(const struct meaning *cfa, uintptr_t value, unw_cursor_t *c)
{
	struct unwind_rule r = {.cfa_offset = cfa->offset, .fp_at = read_saved(c, value, ARCH_UNW_FP)};
	unw_save_loc_t fp;
	bool is_plain = cfa->index == UNWIND_NO_REGISTER;
	bool fp_is_at_fp = unw_get_save_loc(c, ARCH_UNW_FP, &fp) == 0 && fp.type == UNW_SLT_MEMORY &&
	                   fp.u.addr == FAKE(ARCH_DWARF_FP);
	if (is_plain && !cfa->is_deref && cfa->base == ARCH_DWARF_SP && r.fp_at >= 0) {
		r.kind = UNWIND_SP;
	} else if (is_plain && !cfa->is_deref && cfa->base == ARCH_DWARF_FP && r.fp_at >= 0) {
		r.kind = UNWIND_FP;
	} else if (is_plain && cfa->is_deref && cfa->base == ARCH_DWARF_FP && cfa->offset == 0 && fp_is_at_fp) {
		r = (struct unwind_rule){.kind = UNWIND_FP_DEREF, .cfa_offset = cfa->at};
	} else {
		set_other(&r, cfa, UNWIND_NO_REGISTER);
	}
	return r;
}

/* Does the code at a return address end a signal's handler? Such code may have no table. */
static bool is_restorer(uintptr_t pc)
{
	unsigned char code[ARCH_RESTORER_BYTES];
	return peek(pc + 1, code, sizeof code) && arch_is_restorer(code);
}

/* Nobody called from before the first instruction of a function: the frame was made, as by makecontext. */
static bool is_made_root(uintptr_t pc)
{
	unw_proc_info_t info;
	uintptr_t to;
	memset(&info, 0, sizeof info);
	return tables_find_locked(tables.space, pc + 1, &info, 0, NULL) == 0 && info.start_ip == pc + 1 &&
	       code_callee_before(pc + 1, &to) == ARCH_CALLS_NOTHING;
}

static struct unwind_rule without_table(uintptr_t pc)
{
	if (is_restorer(pc))
		return (struct unwind_rule){.kind = UNWIND_SIGNAL};
	if (is_made_root(pc))
		return (struct unwind_rule){.kind = UNWIND_END};
	bool is_code = tables.module || code_learn(pc) || code_may_be_return(pc + 1);
	return (struct unwind_rule){.kind = is_code ? UNWIND_CHAIN : UNWIND_NOWHERE};
}

static struct unwind_rule trial_step(void)
{
	const struct unwind_rule unknown = {.kind = UNWIND_UNKNOWN};
	unw_cursor_t c;
	unw_word_t value;
	unw_save_loc_t return_at;

	if (unw_init_remote(&c, tables.space, NULL) < 0)
		return unknown;
	int left = unw_step(&c);
	if (!tables.has_table_entry)
		return without_table(tables.pc);
	if (left < 0)
		return unknown;
	if (left == 0)
		return (struct unwind_rule){.kind = UNWIND_END};
	if (unw_get_reg(&c, UNW_REG_SP, &value) < 0 || unw_get_save_loc(&c, UNW_REG_IP, &return_at) < 0)
		return unknown;
	struct meaning cfa = meaning_of(value);
	if (cfa.base < 0)
		return unknown;
	if (is_signal(&cfa, &return_at))
		return (struct unwind_rule){.kind = UNWIND_SIGNAL};
	struct unwind_rule r = rule_from(&cfa, value, &c);
	bool is_in_register = return_at.type == UNW_SLT_REG && return_at.u.regnum < ARCH_DWARF_REGISTERS;
	if (is_in_register && r.kind != UNWIND_FP_DEREF) {
		set_other(&r, &cfa, return_at.u.regnum);
		return r;
	}
	return return_at.type == UNW_SLT_MEMORY && return_at.u.addr == value - WORD ? r : unknown;
}

/* The same step, for one register. */
static int32_t trial_saved(int number)
{
	unw_cursor_t c;
	unw_word_t cfa;
	if (unw_init_remote(&c, tables.space, NULL) < 0 || unw_step(&c) <= 0 || !tables.has_table_entry ||
	    unw_get_reg(&c, UNW_REG_SP, &cfa) < 0)
		return -1;
	return read_saved(&c, cfa, number);
}

struct learning {
	uintptr_t pc;
	int number; /* of a register; negative: the rule is asked for */
	struct unwind_rule rule;
	union { /* what else is asked for; it lies on the program's stack */
		int32_t saved;
		uintptr_t start;
		enum code_answer answer;
	};
};

/* libunwind asserts on tables that make no sense. unwind_libc.c turns that into a jump back to here. */
static __attribute__((noinline)) void guarded_trial_step(struct learning *l)
{
	if (__builtin_setjmp(wrap_escape) == 0) {
		shared_store_relaxed(&wrap_escape_tid, os_tid());
		if (l->number < 0)
			l->rule = trial_step();
		else
			l->saved = trial_saved(l->number);
	}
	shared_store_relaxed(&wrap_escape_tid, 0);
}

static void learn_locked(void *arg)
{
	struct learning *l = arg;
	if (lock_is_inherited(&learner.lock))
		tables.space = NULL; /* another thread left it in the middle of something: give it up */
	if (!tables_start_locked()) {
		losses_count(no_unwinder);
	} else if (!modules_closing()) {
		tables.pc = l->pc;
		tables.module = modules_find(l->pc);
		tables.has_table_entry = false;
		tables.is_unreadable = false;
		tables_forget_locked();
		guarded_trial_step(l);
		if (tables.is_unreadable || modules_find(l->pc) != tables.module) { /* it was unloaded meanwhile */
			l->rule.kind = UNWIND_UNKNOWN;
			l->saved = -1;
		}
	}
}

/* Run a function on the learner's stack, with its lock. */
static void run(void (*fn)(void *), struct learning *l)
{
	if (!lock_take(&learner.lock, LOCK_LEARN))
		return;
	own_stack_run(&learner.stack, fn, l);
	lock_release(&learner.lock);
}

struct unwind_rule unwind_learn(uintptr_t pc)
{
	struct learning l = {.pc = pc, .number = -1, .rule = {.kind = UNWIND_UNKNOWN}};
	run(learn_locked, &l);
	return l.rule;
}

int32_t unwind_learn_saved(uintptr_t pc, int number)
{
	struct learning l = {.pc = pc, .number = number, .saved = -1};
	run(learn_locked, &l);
	return l.saved;
}

static void find_start_locked(void *arg)
{
	struct learning *l = arg;
	unw_proc_info_t info;
	if (lock_is_inherited(&learner.lock))
		tables.space = NULL;
	if (!tables_start_locked() || modules_closing())
		return;
	tables.module = modules_find(l->pc);
	tables_forget_locked();
	memset(&info, 0, sizeof info);
	l->start = tables_find_locked(tables.space, l->pc, &info, 0, NULL) == 0 ? info.start_ip : 0;
}

uintptr_t unwind_function_start(uintptr_t pc)
{
	struct learning l = {.pc = pc};
	run(find_start_locked, &l);
	return l.start;
}

static void learn_code_locked(void *arg)
{
	struct learning *l = arg;
	l->answer = code_learn(l->pc) ? CODE_YES : CODE_NO;
}

enum code_answer unwind_learn_code(uintptr_t pc)
{
	struct learning l = {.pc = pc, .answer = CODE_NO};
	run(learn_code_locked, &l);
	return l.answer;
}

static void learn_return_locked(void *arg)
{
	struct learning *l = arg;
	uintptr_t to = 0;
	if (code_callee_before(l->pc, &to) == ARCH_CALLS_ADDRESS)
		code_learn(to);
	code_learn(l->pc - 1);
	l->answer = code_is_return(l->pc);
	if (l->answer == CODE_ASK && code_may_be_return(l->pc))
		l->answer = CODE_YES;
}

enum code_answer unwind_learn_return(uintptr_t return_address)
{
	struct learning l = {.pc = return_address, .answer = code_is_return(return_address)};
	if (l.answer == CODE_ASK)
		run(learn_return_locked, &l);
	return l.answer == CODE_YES ? CODE_YES : CODE_NO;
}

/* Nobody can wait for a learner that was stopped in the middle. */
void unwind_learn_drain(void)
{
	if (lock_take(&learner.lock, LOCK_LEARN))
		lock_release(&learner.lock);
}
