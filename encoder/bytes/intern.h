/* intern.h - number things in the order they first appear: strings, addresses.
 *
 * Runs in: listener. Lives in a request's region; one owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_INTERN_H
#define PPROFSHIM_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/text.h"

/* A set of byte strings, numbered 0, 1, 2 … Zero-initialise it. It does not copy the bytes: the caller keeps them. */
struct intern {
	struct intern_entry {
		struct span key;
		uint32_t hash;
		uint32_t number_plus_1; /* 0: free */
	} * entry;
	size_t cap, count;
};

/* Returns the number of `key`, which is added if it is new (*is_new says so); -1: no memory. */
int64_t intern(struct intern *t, struct region *r, struct span key, bool *is_new);

/* Returns the number of `key`; -1: it is not in the table. */
int64_t intern_find(const struct intern *t, struct span key);

/* Returns the bytes of the equal key in the table; NULL and 0: there is none. */
struct span intern_key(const struct intern *t, struct span key);

#endif
