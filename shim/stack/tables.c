/* tables.c - what libunwind is told when it asks for tables, memory and registers.
 *
 * Runs in: as learn.c, under its lock. So: tables are read in a way that cannot fault, as the object may be unloaded at
 * any moment; registers and stack are made up (fake.h); all other questions of libunwind's have no answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/tables.h"

#include <string.h>

#include "shim/arch/arch.h"
#include "shim/base/layout.h"
#include "shim/base/peek.h"
#include "shim/stack/fake.h"
#include "shim/stack/unwind.h"

struct tables tables FORKED;

/* Pieces of tables, read in a way that cannot fault: the object may be unloaded at any moment. They belong to one
 * look-up. Under lock. */
enum { PIECES = 16, PIECE_BYTES = 512 };
static struct {
	uintptr_t at; /* 0: nothing */
	char bytes[PIECE_BYTES];
} pieces[PIECES] LARGE;

void tables_forget_locked(void)
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
			tables.is_unreadable = true;
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
	const struct eh_index *index = tables.is_unreadable ? NULL : eh_frame_index_locked(m);
	if (!index || !index->count)
		return false;
	tables.index = index;
	table->u.rti.segbase = m->start;
	table->u.rti.table_len = index->count * sizeof *index->at / sizeof(unw_word_t);
	table->u.rti.table_data = (uintptr_t)index->at;
	return true;
}

int tables_find_locked(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_info, void *unused)
{
	const struct module *m = tables.module;
	unw_dyn_info_t table;
	tables.index = NULL;
	if (!m || ip < m->start || ip >= m->end || !describe_table_locked(m, &table))
		return -UNW_ENOINFO;
	int r = UNW_OBJ(dwarf_search_unwind_table)(space, ip, &table, info, need_info, unused);
	if (r == 0 && (ip < info->start_ip || ip >= info->end_ip))
		r = -UNW_ENOINFO;
	tables.has_table_entry |= r == 0;
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
	const struct module *m = tables.module;
	if (write)
		return -UNW_EINVAL;
	if (at >> 63)
		*value = word_at(meaning_of(at));
	else if (tables.index && at - (uintptr_t)tables.index->at < tables.index->count * sizeof *tables.index->at)
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
		*value = tables.pc;
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
bool tables_start_locked(void)
{
	static unw_accessors_t accessors = {
		.find_proc_info = tables_find_locked,
		.put_unwind_info = put_unwind_info,
		.get_dyn_info_list_addr = no_dyn_info,
		.access_mem = access_mem,
		.access_reg = access_reg,
		.access_fpreg = access_fpreg,
		.resume = no_resume,
		.get_proc_name = no_name,
	};
	if (tables.space)
		return true;
	tables.space = unw_create_addr_space(&accessors, 0);
	if (tables.space)
		unw_set_caching_policy(tables.space, UNW_CACHE_NONE);
	return tables.space != NULL;
}
