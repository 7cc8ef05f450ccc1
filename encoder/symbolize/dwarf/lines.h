/* lines.h - the line tables of .debug_line, of versions 2 to 5.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LINES_H
#define PPROFSHIM_LINES_H

#include <stdbool.h>

#include "encoder/symbolize/dwarf/cursor.h"
#include "encoder/symbolize/elf/elf_file.h"
#include "encoder/symbolize/elf/strings.h"

struct line_file {
	struct bytes name; /* without its NUL */
	uint64_t dir;
	const char *path; /* joined and kept; NULL: not yet */
};

/* One address to find. Arrays of them are sorted by address. */
struct line_query {
	uint64_t address;
	uint64_t file; /* its index, for lines_file */
	unsigned line;
	bool found;
	/* state of the search */
	uint64_t high, try_file, try_sequence;
	unsigned try_line;
};

/* Zero-initialise it, then call lines_open. It holds one unit's table at a time. */
struct lines {
	struct bytes line, line_str, str; /* sections */
	const char *comp_dir;
	unsigned version;
	struct bytes *dir;
	struct line_file *file;
	size_t dirs, dirs_cap, files, files_cap;
};

void lines_open(struct lines *l, const struct elf_file *f);
void lines_close(struct lines *l);

/* Answer the queries from the table at `offset` of .debug_line. False: the table is damaged; its good part is used. */
bool lines_read(struct lines *l, uint64_t offset, const char *comp_dir, struct line_query *q, size_t count);

/* Returns the full path of file `index` of the table that was read last; "": not known. */
const char *lines_file(struct lines *l, struct texts *texts, uint64_t index);

#endif
