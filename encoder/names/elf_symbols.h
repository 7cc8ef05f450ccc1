/* elf_symbols.h - function names of an ELF file, by address, from its symbol table.
 *
 * Runs in: listener. The file is read with pread into the request's region: a mapped file that somebody
 * truncates would be a SIGBUS in the program.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ELF_SYMBOLS_H
#define PPROFSHIM_ELF_SYMBOLS_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

enum { ELF_ALIASES_MOST = 6 };

/* One address to name. */
struct elf_query {
	uint64_t address; /* as the file's headers have it (in memory minus bias) */
	/* the answer */
	struct span name; /* in the region; empty: no symbol */
	struct span file; /* in the region: the source of a local symbol, as the table has it, without a folder; empty:
	                     not known */
	uint64_t start;   /* where that symbol begins */
	/* of the search: the best so far, and its aliases as good as it */
	uint64_t nearest; /* of all symbols' starts, the one just below, if no query lies between */
	uint64_t size;    /* of the best so far */
	int rank, alias_count;
	struct elf_alias {
		uint32_t name_at, file_at; /* file_at 0: none */
	} alias[ELF_ALIASES_MOST];
};

/* Is this file the one that was loaded? True, too, when either has no build id to tell. */
bool elf_has_build_id(int fd, const uint8_t *id, size_t len);

/* Name what can be named. `queries` sorted by address. fd: an ELF file (0, or -ENOEXEC, -ENOMEM, -EIO; -ECANCELED: by
 * pace.h, nobody wants them any more). */
int elf_symbols_of_file(struct region *r, int fd, struct elf_query *queries, size_t count);

/* The same from the loaded image's dynamic symbols, where the file is gone: fd is /proc/self/mem, `base` the
 * address of the ELF header in memory and `bias` what is added to the headers' addresses. */
int elf_symbols_of_memory(struct region *r, int fd, uint64_t base, uint64_t bias, struct elf_query *queries,
                          size_t count);

#endif
