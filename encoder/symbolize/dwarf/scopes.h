/* scopes.h - qualified names of functions that have no linker's name: namespaces, classes, the function of a lambda.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SCOPES_H
#define PPROFSHIM_SCOPES_H

#include <elfutils/libdw.h>
#include <stddef.h>

#include "encoder/symbolize/dwarf/dies.h"
#include "encoder/symbolize/elf/strings.h"

/* A function's entry where it is declared (scopes_declaration), and its name with those of what it is in. */
struct scoped {
	Dwarf_Die die;
	const char *name; /* kept in texts; NULL: not known, or it has no name */
};

/* Returns the entry that says where a function belongs: its abstract instance, and the declaration that this one
 * completes. */
Dwarf_Die scopes_declaration(Dwarf_Die *function);

/* Find the names of these functions, each of which is there once, and sort them for scopes_of. Scratch memory is of r.
 * Fewer names are found if the budget is spent. */
void scopes_find(struct scoped *s, size_t count, struct texts *texts, struct region *r, struct budget *budget);

/* Returns the one of the sorted entries for this declaration; NULL: it is not among them. */
const struct scoped *scopes_of(const struct scoped *s, size_t count, const Dwarf_Die *declaration);

#endif
