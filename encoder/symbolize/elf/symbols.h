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
	const char *name; /* of texts; NULL: no symbol covers the address */
	const char *file; /* of texts: its source, without a folder; "": not known */
	uint64_t start;
	bool is_own; /* it is in the file itself */
};

/* file: the one that is loaded; debug, mini: its separate files, or NULL. addresses: ascending. What is not in the
 * file's own table is looked for in the next. 0, or -ENOMEM (some are named all the same). */
int symbols_find(struct texts *texts, const struct elf_file *file, const struct elf_file *debug,
                 const struct elf_file *mini, const uint64_t *addresses, size_t count, struct symbol *symbols);

#endif
