/* loaded.h - the two lists of objects: for the files that keep them. All others include modules.h.
 *
 * Runs in: init, app's thread inside a hook; signal handler (loaded_find); listener.
 *
 * `all` holds every object that was ever seen, for names, and to recognise one that comes back. `live` is a table of
 * the loaded objects, for everything that is done often; its places are used again. So the work at a dlclose does not
 * grow with the number of objects that were loaded before.
 *
 * Shared: `all` and `count`, `live` and `live_most`, published with release stores, read with acquire; the arrays are
 * replaced by larger ones, never freed. A module is immutable once published, save `gone` (atomic) and the fields for
 * writers alone; the places of `live` are atomic. Writers hold the lock (rank MODULES); the loader's lock comes before
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOADED_H
#define PPROFSHIM_LOADED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/module.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"
#include "shim/libc/headers.h"

enum { LOADED_ROOTS = 64 };

/* A place in one of the lists. */
typedef SHARED(struct module *) loaded_place;
typedef SHARED(loaded_place *) loaded_list_of;

extern HIDDEN struct loaded {
	struct lock lock; /* MODULES */
	loaded_list_of all;
	shared_size count;     /* published after the entry */
	loaded_list_of live;   /* NULL: a free place */
	shared_size live_most; /* no place from here on was ever used */
	shared_int again;      /* how many loaded objects lie where others did before */
	/* under lock */
	size_t cap, live_cap;
	struct module *root[LOADED_ROOTS]; /* all, by identity */
	struct loaded_range {
		uintptr_t start, end;
	} * used; /* where objects are or were, in ascending order, never touching */
	size_t used_count, used_cap;
	uint64_t renewals;
} loaded;

/* Returns false if the lock can't be had in LOCK_PATIENCE_MS. */
bool loaded_take_lock(void);
void loaded_release_lock(void);

bool loaded_is_live(const struct module *m);

/* Returns the loaded object whose executable segment holds `pc`, or NULL. No lock. */
struct module *loaded_find(uintptr_t pc);

/* Returns the object at a place of the table, below live_most; NULL: the place is free. */
struct module *loaded_at_locked(size_t place);

/* Empties a place: its object is no longer loaded. */
void loaded_leave_locked(size_t place);

/* Enters an object. A library that is loaded and unloaded in turns gets its old entry back.
 * Returns true if there is one more loaded object. */
bool loaded_add_locked(const struct headers *h);

#endif
