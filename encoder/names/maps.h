/* maps.h - /proc/self/maps, read once a request: which file is mapped where, under which path now.
 *
 * Runs in: listener. Lives in a request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MAPS_H
#define PPROFSHIM_MAPS_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

struct map {
	uintptr_t start, end;
	uint64_t offset;  /* in the file */
	struct span path; /* without " (deleted)"; empty: anonymous */
	bool deleted;
};
struct maps {
	struct span text; /* the file as it was read */
	struct map *at;
	size_t count;
};

/* Read the mappings. Returns 0, or a negative errno (without /proc; count is then 0). */
int maps_read(struct region *r, struct maps *m);

/* Returns the mapping that holds an address, or NULL. */
const struct map *maps_find(const struct maps *m, uintptr_t address);

/* Returns the first mapping that ends above an address; &m->at[m->count]: there is none. */
const struct map *maps_first_above(const struct maps *m, uintptr_t address);

/* Is it of a file, or the kernel's code? Other memory may have a path as well. */
bool maps_is_object(const struct map *map);

#endif
