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
#include "shim/stack/eh_frame.h"
#include "shim/stack/fake.h"
#include "shim/stack/own_stack.h"
#include "shim/base/peek.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/stack/unwind.h"
#include "shim/stack/unwind_libc.h"

enum { WORD = sizeof(uintptr_t) };

static struct {
	struct lock lock;
	struct own_stack stack; /* under lock: libunwind takes some 6 KiB */
	unw_addr_space_t space; /* NULL: not started, or no memory; under lock */
	/* under lock, of the look-up under way */
	uintptr_t pc;
	const struct module *module;
	const struct eh_index *index; /* the table that is searched, if it is one that we made */
	bool has_table_entry;
	bool is_unreadable; /* the tables could not be read */
} learner FORKED;

/* Pieces of tables, read in a way that cannot fault: the object may be unloaded at any moment. They belong to one
 * look-up. Under lock. */
enum { PIECES = 16, PIECE_BYTES = 512 };
static struct {
	uintptr_t at; /* 0: nothing */
	char bytes[PIECE_BYTES];
} pieces[PIECES] LARGE;

static void forget_pieces_locked(void)
{
	for (int i = 0; i < PIECES; i++)
		pieces[i].at = 0;
}

/* Returns the piece that holds `at`; NULL if it can't be read. */
static const char *read_piece_locked(uintptr_t at)
{
	uintptr_t start = at & ~(uintptr_t)(PIECE_BYTES - 1);
	size_t i = start / PIECE_BYTES % PIECES;
	if (pieces[i].at != start) {
		pieces[i].at = peek(start, pieces[i].bytes, PIECE_BYTES) ? start : 0;
		if (!pieces[i].at)
			return NULL;
	}
	return pieces[i].bytes + (at - start);
}

/* Reads only within the object. */
static bool read_table_locked(const struct module *m, uintptr_t at, void *to, size_t bytes)
{
	if (at < m->start || at + bytes > m->end)
		return false;
	for (size_t done = 0, part; done < bytes; done += part) {
		size_t in_piece = PIECE_BYTES - ((at + done) & (PIECE_BYTES - 1));
		const char *from = read_piece_locked(at + done);
		if (!from) {
			learner.is_unreadable = true;
			return false;
		}
		part = in_piece < bytes - done ? in_piece : bytes - done;
		memcpy((char *)to + done, from, part);
	}
	return true;
}

/* The lookup table in .eh_frame_hdr, in the one form that linkers write. Format: LSB core, "Exception
 * frames". */
struct table_header {
	uint8_t version, frame_enc, count_enc, table_enc;
	int32_t frame;
	uint32_t count;
};

/* Binary search in that table, through the accessors; libunwind exports it for exactly this use but has
 * no prototype of it in its headers. */
extern int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int,
                                              void *);

/* Describes the table that the linker wrote, or the one that we made. Returns false if there is none. */
static bool describe_table_locked(const struct module *m, unw_dyn_info_t *table)
{
	enum { VERSION = 1, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };
	struct table_header h;
	*table = (unw_dyn_info_t){.start_ip = m->start, .end_ip = m->end, .format = UNW_INFO_FORMAT_REMOTE_TABLE};
	if (m->unwind_table && read_table_locked(m, m->unwind_table, &h, sizeof h) && h.version == VERSION &&
	    h.count_enc == UDATA4 && h.table_enc == DATAREL_SDATA4) {
		table->u.rti.segbase = m->unwind_table;
		table->u.rti.table_len = h.count * 8 / sizeof(unw_word_t);
		table->u.rti.table_data = m->unwind_table + sizeof h;
		return true;
	}
	const struct eh_index *index = learner.is_unreadable ? NULL : eh_frame_index_locked(m);
	if (!index || !index->count)
		return false;
	learner.index = index;
	table->u.rti.segbase = m->start;
	table->u.rti.table_len = index->count * sizeof *index->at / sizeof(unw_word_t);
	table->u.rti.table_data = (uintptr_t)index->at;
	return true;
}

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_info, void *arg)
{
	const struct module *m = learner.module;
	unw_dyn_info_t table;
	learner.index = NULL;
	if (!m || ip < m->start || ip >= m->end || !describe_table_locked(m, &table))
		return -UNW_ENOINFO;
	int r = UNW_OBJ(dwarf_search_unwind_table)(space, ip, &table, info, need_info, arg);
	if (r == 0 && (ip < info->start_ip || ip >= info->end_ip))
		r = -UNW_ENOINFO;
	learner.has_table_entry |= r == 0;
	return r;
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
	(void)space, (void)info, (void)arg;
}

static int no_dyn_info(unw_addr_space_t space, unw_word_t *list, void *arg)
{
	(void)space, (void)list, (void)arg;
	return -UNW_ENOINFO;
}

static int access_mem(unw_addr_space_t space, unw_word_t at, unw_word_t *value, int write, void *arg)
{
	(void)space, (void)arg;
	const struct module *m = learner.module;
	if (write)
		return -UNW_EINVAL;
	if (at >> 63)
		*value = word_at(meaning_of(at));
	else if (learner.index && at - (uintptr_t)learner.index->at < learner.index->count * sizeof *learner.index->at)
		memcpy(value, (const void *)at, sizeof *value);
	else if (!m || !read_table_locked(m, at, value, sizeof *value))
		return -UNW_EINVAL;
	return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write, void *arg)
{
	(void)space, (void)arg;
	if (write)
		return -UNW_EREADONLYREG;
	if (reg == ARCH_UNW_PC)
		*value = learner.pc;
	else
		*value = reg >= 0 && reg < ARCH_DWARF_REGISTERS ? FAKE(reg) : FAKE_WORD;
	return 0;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int write, void *arg)
{
	(void)space, (void)reg, (void)value, (void)write, (void)arg;
	return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *c, void *arg)
{
	(void)space, (void)c, (void)arg;
	return -UNW_EINVAL;
}

static int no_name(unw_addr_space_t space, unw_word_t ip, char *buf, size_t len, unw_word_t *offset, void *arg)
{
	(void)space, (void)ip, (void)buf, (void)len, (void)offset, (void)arg;
	return -UNW_ENOINFO;
}

/* Called at the first stack, not at init: it costs a dozen pages, which a short-lived program need not pay. */
static bool start_locked(void)
{
	static unw_accessors_t accessors = {
		.find_proc_info = find_proc_info,
		.put_unwind_info = put_unwind_info,
		.get_dyn_info_list_addr = no_dyn_info,
		.access_mem = access_mem,
		.access_reg = access_reg,
		.access_fpreg = access_fpreg,
		.resume = no_resume,
		.get_proc_name = no_name,
	};
	if (learner.space)
		return true;
	learner.space = unw_create_addr_space(&accessors, 0);
	if (learner.space)
		unw_set_caching_policy(learner.space, UNW_CACHE_NONE);
	return learner.space != NULL;
}

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
	return find_proc_info(learner.space, pc + 1, &info, 0, NULL) == 0 && info.start_ip == pc + 1 &&
	       code_callee_before(pc + 1, &to) == ARCH_CALLS_NOTHING;
}

static struct unwind_rule without_table(uintptr_t pc)
{
	if (is_restorer(pc))
		return (struct unwind_rule){.kind = UNWIND_SIGNAL};
	if (is_made_root(pc))
		return (struct unwind_rule){.kind = UNWIND_END};
	bool is_code = learner.module || code_learn(pc) || code_may_be_return(pc + 1);
	return (struct unwind_rule){.kind = is_code ? UNWIND_CHAIN : UNWIND_NOWHERE};
}

static struct unwind_rule trial_step(void)
{
	const struct unwind_rule unknown = {.kind = UNWIND_UNKNOWN};
	unw_cursor_t c;
	unw_word_t value;
	unw_save_loc_t return_at;

	if (unw_init_remote(&c, learner.space, NULL) < 0)
		return unknown;
	int left = unw_step(&c);
	if (!learner.has_table_entry)
		return without_table(learner.pc);
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
	if (unw_init_remote(&c, learner.space, NULL) < 0 || unw_step(&c) <= 0 || !learner.has_table_entry ||
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
		learner.space = NULL; /* another thread left it in the middle of something: give it up */
	if (!start_locked()) {
		losses_count(no_unwinder);
	} else if (!modules_closing()) {
		learner.pc = l->pc;
		learner.module = modules_find(l->pc);
		learner.has_table_entry = false;
		learner.is_unreadable = false;
		forget_pieces_locked();
		guarded_trial_step(l);
		if (learner.is_unreadable || modules_find(l->pc) != learner.module) { /* it was unloaded meanwhile */
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
		learner.space = NULL;
	if (!start_locked() || modules_closing())
		return;
	learner.module = modules_find(l->pc);
	forget_pieces_locked();
	memset(&info, 0, sizeof info);
	l->start = find_proc_info(learner.space, l->pc, &info, 0, NULL) == 0 ? info.start_ip : 0;
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
