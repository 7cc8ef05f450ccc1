/* ways.h - the functions that are certain to have run between a call and the function that runs in its place.
 *
 * Runs in: listener and pprofshim-symbolize. No memory but the stack's; what DWARF says is not trusted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_WAYS_H
#define PPROFSHIM_WAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/text.h"

enum { WAYS_JUMPS_MOST = 64, WAYS_MOST = WAYS_JUMPS_MOST + 1 };

/* A jump at the end of a function to another. Addresses are as the file's headers count; 0 and "": not known, or not in
 * this file. */
struct way_jump {
	uint64_t from, at, to; /* from and to: where the functions begin; at: an address within the jump */
	struct span name;      /* the other function, as linked */
};

/* The function that runs in place of the one that was called. */
struct way_end {
	const char *const *names; /* it is one of these, up to NULL; NULL: the members below say which */
	bool is_near;             /* it lies in the file of the call */
	uint64_t start, address;  /* as the file's headers count */
	struct span name;         /* as linked */
};

/* What calls that lead into the profiler's hooks name. */
extern const char *const ways_allocators[], *const ways_creators[];

enum ways_doubt {
	WAYS_CERTAIN,   /* all that ran between is known */
	WAYS_AMBIGUOUS, /* there is more than one way */
	WAYS_UNKNOWN,   /* no way is known: the file tells of no jumps */
};

/* Does a call of this function, whose machine code goes to `to` (0: not known), name another one? */
bool ways_is_other(const struct way_end *end, struct span name, uint64_t to);

/* List the addresses of the functions that are certain, the one that begins at `first` and was called last. A list of
 * jumps that is too long must be given as none. Returns their number; 0: nothing ran between. */
size_t ways_find(uint64_t first, const struct way_jump *jump, size_t jumps, const struct way_end *end,
                 uint64_t list[WAYS_MOST], enum ways_doubt *doubt);

#endif
