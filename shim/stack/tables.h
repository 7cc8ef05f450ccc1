/* tables.h - libunwind's look-ups in the tables of an object, for learn.c.
 *
 * Runs in: as learn.c. The caller holds its lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TABLES_H
#define PPROFSHIM_TABLES_H

#include <libunwind.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/module.h"
#include "shim/stack/eh_frame.h"

extern HIDDEN struct tables {
	unw_addr_space_t space; /* NULL: not started, or no memory */
	/* of the look-up under way */
	uintptr_t pc;
	const struct module *module;
	const struct eh_index *index; /* the table that is searched, if it is one that we made */
	bool has_table_entry;
	bool is_unreadable; /* the tables could not be read */
} tables;

/* Makes `space`, if need be. Returns false if there is no memory. */
bool tables_start_locked(void);

/* Forgets what was read: objects may have been unloaded since. */
void tables_forget_locked(void);

/* Finds the table entry of the function at ip, in `module`. Returns 0, or a negative error of libunwind's. */
int tables_find_locked(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_info, void *unused);

#endif
