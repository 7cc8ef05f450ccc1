/* eh_frame.h - unwind tables of objects whose linker wrote no table to search them by.
 *
 * Runs in: app's thread inside a hook, listener, on the learner's stack. The LEARN lock is held.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EH_FRAME_H
#define PPROFSHIM_EH_FRAME_H

#include <stddef.h>

#include <stdbool.h>

#include "shim/libc/modules.h"

/* One function: where it begins and where its entry in .eh_frame is, as distances from the object's start. The form is
 * that of a table in .eh_frame_hdr. */
struct eh_entry {
	int32_t function, entry;
};
struct eh_index {
	const struct module *module;
	const struct eh_entry *at; /* by function */
	size_t count;              /* 0: it has no unwind tables in memory, or too many */
	bool is_cut;               /* a thread of the program looked, and not far enough */
};

/* Returns the index of an object's functions, which is made at the first call. NULL: there is no room for one, or a
 * thread of the program would have to search for long; the listener does. */
const struct eh_index *eh_frame_index_locked(const struct module *m);

#endif
