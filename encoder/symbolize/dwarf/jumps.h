/* jumps.h - functions that end in a jump to another, from DWARF's entries of calls.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_JUMPS_H
#define PPROFSHIM_JUMPS_H

#include <elfutils/libdw.h>
#include <stdbool.h>

#include "encoder/symbolize/dwarf/dwarf.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/elf/functions.h"

/* Find the function that a call, or a jump, goes to, as DWARF names it. False: that is not known. */
bool jumps_callee(Dwarf_Die *call, Dwarf_Die *callee);

/* Find all jumps that may follow the call in `from`, from function to function. `symbols` has the addresses
 * of the DWARF. The jumps have these addresses, too, and are allocated in r. */
void jumps_find(struct dwarf *d, const struct functions *symbols, struct texts *texts, struct region *r,
                const struct found *from, struct jumps *to);

#endif
