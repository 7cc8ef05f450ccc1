/* dwarf.h - the frames at addresses, from DWARF.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DWARF_H
#define PPROFSHIM_DWARF_H

#include "encoder/symbolize/elf/elf_file.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/elf/strings.h"

struct dwarf;

/* What DWARF says of an address. A frame's name may be NULL: its function has none. */
struct found {
	uint64_t address; /* set by the caller, as the headers of the file with the DWARF have it */
	uint64_t start;   /* of the function; 0: not known */
	size_t count;
	struct frame *frame; /* innermost first; `name` is set where DWARF alone knows it, else NULL */
};

/* Open the DWARF of a file. f and texts must outlive it. Returns NULL if the file has none that can be read. */
struct dwarf *dwarf_open(const struct elf_file *f, struct texts *texts);
void dwarf_close(struct dwarf *d); /* NULL: nothing */

/* Look up `found`, ascending by address. The frames are allocated in r. */
void dwarf_find(struct dwarf *d, struct region *r, struct found *found, size_t count);

/* Returns why frames may be missing, or NULL. */
const char *dwarf_note(const struct dwarf *d);

#endif
