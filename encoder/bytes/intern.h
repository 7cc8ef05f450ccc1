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

/* A set of byte strings, each with its number, 0, 1, 2 … Zero-initialise. The bytes are the caller's and must stay. */
struct intern {
	struct intern_entry {
		struct span key;
		uint32_t hash;
		uint32_t number_plus_1; /* 0: free */
	} * entry;
	size_t cap, count;
};

/* The number of `key`, new ones last. *is_new says which. -1 when there is no memory. */
int64_t intern(struct intern *t, struct region *r, struct span key, bool *is_new);

/* The same of one that is in the table; -1: it is not. */
int64_t intern_find(const struct intern *t, struct span key);

/* The bytes that stand for an equal key in the table; NULL and 0: there are none. */
struct span intern_key(const struct intern *t, struct span key);

#endif
