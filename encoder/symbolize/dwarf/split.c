/* split.c - .dwo files, which libdw opens by itself, with sections that are packed by zstd.
 *
 * Runs in: pprofshim-symbolize. libdw of Debian 12 unpacks sections of zlib alone, and opens a .dwo file where nobody
 * can unpack it before: by dwarf_begin, which nothing else calls. It is linked statically, so the function here takes
 * the place of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/split.h"

#include <elfutils/libdw.h>
#include <stdlib.h>

#include "encoder/symbolize/elf/zstd.h"

struct split {
	struct split *next;
	struct elf_file file; /* libdw closes its descriptor */
};
static struct split *splits;

static void release(struct split *s)
{
	elf_end(s->file.elf);
	zstd_release(&s->file);
	free(s);
}

/* As libdw's own, but the file lasts until split_release. Sections that cannot be unpacked stay as they are: libdw does
 * without them. */
Dwarf *dwarf_begin(int fd, Dwarf_Cmd command)
{
	struct split *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->file.fd = -1;
	s->file.elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (s->file.elf)
		zstd_unpack(&s->file);
	Dwarf *dw = s->file.elf ? dwarf_begin_elf(s->file.elf, command, NULL) : NULL;
	if (!dw) {
		release(s);
		return NULL;
	}
	s->next = splits;
	splits = s;
	return dw;
}

void split_release(void)
{
	for (struct split *s = splits, *next; s; s = next) {
		next = s->next;
		release(s);
	}
	splits = NULL;
}
