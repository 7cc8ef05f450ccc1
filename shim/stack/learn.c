/* learn.c - the rule of one address, taken out of libunwind by a trial step.
 *
 * Runs in: app's thread inside a hook, or the listener, once for each address that is met in a stack.
 * So: libunwind is used through its remote interface alone, whose accessors are ours: it opens nothing, asks no loader,
 * and reads no stack. Its own locks are idle (shim/stack/unwind_libc.c): the LEARN lock here keeps threads apart.
 *
 * How: the step starts with made-up register values that stand for the registers (FAKE_SP, FAKE_FP), far apart in an
 * address range that no program has. The addresses where the step looks for the return address and the saved frame
 * pointer tell how the caller's frame is computed here, in terms of sp and fp. Whatever the tables use (offsets,
 * expressions, aligned frames), the outcome is one of a few rules.
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
#include "shim/stack/own_stack.h"
#include "shim/base/peek.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/stack/unwind.h"
#include "shim/stack/unwind_libc.h"

/* Addresses that stand for a register's value, or for the word that was read at one. Each has a window of
 * WINDOW bytes to both sides. */
#define FAKE_SP ((uintptr_t)1 << 63 | (uintptr_t)1 << 40)
#define FAKE_FP ((uintptr_t)1 << 63 | (uintptr_t)2 << 40)
#define FAKE_AT_SP ((uintptr_t)1 << 63 | (uintptr_t)3 << 40) /* + offset: the word at FAKE_SP + offset */
#define FAKE_AT_FP ((uintptr_t)1 << 63 | (uintptr_t)4 << 40)
#define FAKE_OTHER ((uintptr_t)1 << 63 | (uintptr_t)5 << 40)
#define WINDOW ((uintptr_t)1 << 30)

enum { WORD = sizeof(uintptr_t) };

static struct {
	struct lock lock;
	struct own_stack stack; /* under lock: libunwind takes some 6 KiB */
	unw_addr_space_t space; /* NULL: not started, or no memory; under lock */
	/* under lock, of the look-up under way */
	uintptr_t pc;
	const struct module *module;
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

static bool near(uintptr_t value, uintptr_t fake)
{
	return value - (fake - WINDOW) < 2 * WINDOW;
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

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_info, void *arg)
{
	enum { VERSION = 1, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };
	const struct module *m = learner.module;
	if (!m || !m->unwind_table || ip < m->start || ip >= m->end)
		return -UNW_ENOINFO;
	struct table_header h;
	if (!read_table_locked(m, m->unwind_table, &h, sizeof h) || h.version != VERSION || h.count_enc != UDATA4 ||
	    h.table_enc != DATAREL_SDATA4)
		return -UNW_ENOINFO;
	unw_dyn_info_t table = {
		.start_ip = m->start,
		.end_ip = m->end,
		.format = UNW_INFO_FORMAT_REMOTE_TABLE,
		.u.rti =
			{
				.segbase = m->unwind_table,
				.table_len = h.count * 8 / sizeof(unw_word_t),
				.table_data = m->unwind_table + sizeof h,
			},
	};
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
	if (near(at, FAKE_SP))
		*value = FAKE_AT_SP + (at - FAKE_SP);
	else if (near(at, FAKE_FP))
		*value = FAKE_AT_FP + (at - FAKE_FP);
	else if (at >> 63)
		*value = FAKE_OTHER;
	else if (!m || !read_table_locked(m, at, value, sizeof *value))
		return -UNW_EINVAL;
	return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write, void *arg)
{
	(void)space, (void)arg;
	if (write)
		return -UNW_EREADONLYREG;
	enum { FP_REG = ARCH_UNW_FP, SP_REG = ARCH_UNW_SP, IP_REG = ARCH_UNW_PC };
	switch ((int)reg) {
	case SP_REG: *value = FAKE_SP; break;
	case FP_REG: *value = FAKE_FP; break;
	case IP_REG: *value = learner.pc; break;
	default: *value = FAKE_OTHER; break;
	}
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

/* Finds how the caller's frame pointer is computed, given its cfa.
 * Returns false if no rule of ours fits. */
static bool read_fp_rule(unw_cursor_t *c, uintptr_t cfa, struct unwind_rule *r)
{
	unw_save_loc_t loc;
	if (unw_get_save_loc(c, ARCH_UNW_FP, &loc) < 0)
		return false;
	if (r->kind == UNWIND_FP_DEREF) /* such a frame keeps it where its own points to */
		return loc.type == UNW_SLT_MEMORY && loc.u.addr == FAKE_FP;
	if (loc.type != UNW_SLT_MEMORY)
		return true; /* not saved: still in the register */
	r->fp_at = (int32_t)(cfa - loc.u.addr);
	return cfa - loc.u.addr < WINDOW && cfa > loc.u.addr;
}

static struct unwind_rule trial_step(void)
{
	const struct unwind_rule unknown = {.kind = UNWIND_UNKNOWN}, chain = {.kind = UNWIND_CHAIN};
	struct unwind_rule r = {0};
	unw_cursor_t c;
	unw_word_t cfa;
	unw_save_loc_t return_at;

	if (unw_init_remote(&c, learner.space, NULL) < 0)
		return unknown;
	int left = unw_step(&c);
	if (!learner.has_table_entry)
		return chain;
	if (left < 0)
		return unknown;
	if (left == 0)
		return (struct unwind_rule){.kind = UNWIND_END};
	if (unw_get_reg(&c, UNW_REG_SP, &cfa) < 0 || unw_get_save_loc(&c, UNW_REG_IP, &return_at) < 0)
		return unknown;
	if (near(cfa, FAKE_SP))
		r = (struct unwind_rule){.kind = UNWIND_SP, .cfa_offset = (int32_t)(cfa - FAKE_SP)};
	else if (near(cfa, FAKE_FP))
		r = (struct unwind_rule){.kind = UNWIND_FP, .cfa_offset = (int32_t)(cfa - FAKE_FP)};
	else if (near(cfa, FAKE_AT_FP))
		r = (struct unwind_rule){.kind = UNWIND_FP_DEREF, .cfa_offset = (int32_t)(cfa - FAKE_AT_FP)};
	else if (near(cfa, FAKE_AT_SP))
		return (struct unwind_rule){.kind = UNWIND_SIGNAL};
	if (r.kind == UNWIND_UNKNOWN || return_at.type != UNW_SLT_MEMORY || return_at.u.addr != cfa - WORD)
		return unknown;
	return read_fp_rule(&c, cfa, &r) ? r : unknown;
}

/* libunwind asserts on tables that make no sense. unwind_libc.c turns that into a jump back to here. */
static __attribute__((noinline)) struct unwind_rule guarded_trial_step(void)
{
	struct unwind_rule r = {.kind = UNWIND_UNKNOWN};
	if (__builtin_setjmp(wrap_escape) == 0) {
		shared_store_relaxed(&wrap_escape_tid, os_tid());
		r = trial_step();
	}
	shared_store_relaxed(&wrap_escape_tid, 0);
	return r;
}

struct learning {
	uintptr_t pc;
	struct unwind_rule rule;
	uintptr_t start;
};

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
		l->rule = guarded_trial_step();
		if (learner.is_unreadable || modules_find(l->pc) != learner.module) /* it was unloaded meanwhile */
			l->rule.kind = UNWIND_UNKNOWN;
	}
}

struct unwind_rule unwind_learn(uintptr_t pc)
{
	struct learning l = {.pc = pc, .rule = {.kind = UNWIND_UNKNOWN}};
	if (!lock_take(&learner.lock, LOCK_LEARN))
		return l.rule;
	own_stack_run(&learner.stack, learn_locked, &l);
	lock_release(&learner.lock);
	return l.rule;
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
	if (!lock_take(&learner.lock, LOCK_LEARN))
		return 0;
	own_stack_run(&learner.stack, find_start_locked, &l);
	lock_release(&learner.lock);
	return l.start;
}

/* Nobody can wait for a learner that was stopped in the middle. */
void unwind_learn_drain(void)
{
	if (lock_take(&learner.lock, LOCK_LEARN))
		lock_release(&learner.lock);
}
