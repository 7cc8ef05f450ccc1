/* elf_symbols.h - function names of an ELF file, by address, from its symbol table.
 *
 * Runs in: listener; pprofshim-symbolize. The file is read with pread into the request's region: if it were mapped and
 * somebody truncated it, the program would get a SIGBUS.
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
	struct span file; /* in the region: a local symbol's source as in the table, without a folder; empty: not
	                     known */
	uint64_t start;   /* where that symbol begins */
	/* state of the search: the best symbol so far, and aliases that are as good */
	uint64_t nearest; /* the closest start of any symbol below the address, if no query lies between */
	uint64_t size;    /* of the best symbol so far */
	int rank, alias_count;
	struct elf_alias {
		uint32_t name_at, file_at; /* file_at 0: none */
	} alias[ELF_ALIASES_MOST];
};

/* Does this file have the build id of the loaded one? Also true if either has no build id. */
bool elf_has_build_id(int fd, const uint8_t *id, size_t len);

/* Answer `queries`, sorted by address, as far as fd, an ELF file, has symbols for them.
 * Returns 0, -ENOEXEC, -ENOMEM, -EIO, or -ECANCELED: the answer is no longer wanted (pace.h). */
int elf_symbols_of_file(struct region *r, int fd, struct elf_query *queries, size_t count);

enum { ELF_OWN_MEMORY = -1 };

/* The same from the dynamic symbols of the loaded image, for when the file is gone. fd is /proc/self/mem, or
 * ELF_OWN_MEMORY where there is no /proc; `base` is the address of the ELF header in memory, and `bias` the difference
 * between addresses in memory and in the headers. */
int elf_symbols_of_memory(struct region *r, int fd, uint64_t base, uint64_t bias, struct elf_query *queries,
                          size_t count);

#endif
