/* dies.h - the functions, out of line and inlined, around addresses of one unit.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DIES_H
#define PPROFSHIM_DIES_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"

/* A DIE with code, and those around it up to the function that the code belongs to. */
struct chain {
	size_t count;
	Dwarf_Die die[]; /* innermost first: DW_TAG_inlined_subroutine, at last DW_TAG_subprogram */
};

struct hit {
	uint64_t address;
	const struct chain *chain; /* in the region; NULL: no function is around it */
	bool has_call;
	Dwarf_Die call; /* has_call: the call that returns to the next address */
};

/* The work that may still be done for this object. Without a limit, hostile DWARF could make any walk very long. */
struct budget {
	uint64_t dies, ranges;
};

/* Take one. False: nothing is left. */
static inline bool budget_take(uint64_t *left)
{
	*left -= *left > 0;
	return *left > 0;
}

enum dies_result { DIES_DONE, DIES_DAMAGED, DIES_TOO_MUCH, DIES_NO_MEMORY };

/* Returns the address that follows a call, or a jump that ends its function; 0: not known. */
uint64_t dies_call_end(Dwarf_Die *call);

/* Find the functions around `hits`, ascending, in `unit`, a DW_TAG_compile_unit. */
enum dies_result dies_find(Dwarf_Die *unit, struct hit *hits, size_t count, struct region *r, struct budget *budget);

#endif
