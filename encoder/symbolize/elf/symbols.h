/* symbols.h - names of addresses from the symbol tables of up to three files.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLS_H
#define PPROFSHIM_SYMBOLS_H

#include <stdbool.h>

#include "encoder/symbolize/elf/elf_file.h"
#include "encoder/symbolize/elf/strings.h"

struct symbol {
	const char *name; /* kept in texts; NULL: no symbol covers the address */
	const char *file; /* kept in texts: its source, without a folder; "": not known */
	uint64_t start;
	bool is_own; /* from the file itself, not from a debug file */
};

/* Find the symbols of ascending addresses: in `file`, the loaded one, then in its separate files `debug` and `mini`,
 * which may be NULL. Returns 0, or -ENOMEM (some may have a name even then). */
int symbols_find(struct texts *texts, const struct elf_file *file, const struct elf_file *debug,
                 const struct elf_file *mini, const uint64_t *addresses, size_t count, struct symbol *symbols);

#endif
