/* dwarf.h - the frames at addresses, from DWARF.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DWARF_H
#define PPROFSHIM_DWARF_H

#include <elfutils/libdw.h>

#include "encoder/symbolize/dwarf/dies.h"
#include "encoder/symbolize/elf/elf_file.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/elf/strings.h"

struct dwarf;

/* What DWARF says of an address. A frame's name may be NULL: its function has none. */
struct found {
	uint64_t address; /* set by the caller, as the headers of the file with the DWARF have it */
	uint64_t start;   /* of the function; 0: not known */
	size_t count;
	const char *calls; /* what a call that ends after the address names; NULL: not known, or no call ends there */
	uint64_t called;   /* set by the caller: where it begins; 0: not known */
	bool has_call, has_function;
	Dwarf_Die call, function; /* that call, and the function around it */
	struct frame *frame;      /* innermost first; `name` is set where DWARF alone knows it, else NULL */
};

/* Open the DWARF of a file. f and texts must outlive it. Returns NULL if the file has none that can be read. */
struct dwarf *dwarf_open(const struct elf_file *f, struct texts *texts);
void dwarf_close(struct dwarf *d); /* NULL: nothing */

/* Look up `found`, ascending by address. The frames are allocated in r. */
void dwarf_find(struct dwarf *d, struct region *r, struct found *found, size_t count);

/* Returns what bounds the work for this object. */
struct budget *dwarf_budget(struct dwarf *d);

/* Run `work` so that libdw, should it find no memory, ends that alone. False: it was ended so. */
bool dwarf_guard(struct dwarf *d, void (*work)(void *arg), void *arg);

/* Returns the linker's name of a function, else its own; NULL: it has none. */
const char *dwarf_name_of(Dwarf_Die *function);

/* Returns why frames may be missing, or NULL. */
const char *dwarf_note(const struct dwarf *d);

#endif
