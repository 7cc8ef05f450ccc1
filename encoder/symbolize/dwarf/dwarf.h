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

/* What DWARF says of an address. Names may be NULL: the frame's function has none. */
struct found {
	uint64_t address; /* given; of the headers of the file that the DWARF is in */
	uint64_t start;   /* of the function; 0: not known */
	size_t count;
	struct frame *frame; /* innermost first; name isn't set */
};

/* The DWARF of a file; NULL: it has none that can be read. It keeps f and texts by reference. */
struct dwarf *dwarf_open(const struct elf_file *f, struct texts *texts);
void dwarf_close(struct dwarf *d); /* NULL: nothing */

/* found: ascending by address. The frames are in r. */
void dwarf_find(struct dwarf *d, struct region *r, struct found *found, size_t count);

/* Why something may be missing, or NULL. */
const char *dwarf_note(const struct dwarf *d);

#endif
