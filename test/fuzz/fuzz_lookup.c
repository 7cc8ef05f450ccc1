/* fuzz_lookup.c - any bytes as an ELF file with DWARF, looked into as the helper does.
 *
 * Runs in: its own process, under libFuzzer. libdw and libelf are not instrumented: of what goes wrong in them, only
 * that is seen which ends a process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/elf/debug_file.c encoder/symbolize/demangle.c encoder/symbolize/dwarf/dies.c
 * links: encoder/symbolize/dwarf/dwarf.c encoder/symbolize/dwarf/jumps.c encoder/symbolize/dwarf/scopes.c
 * links: encoder/symbolize/elf/functions.c encoder/symbolize/elf/zstd.c */
/* links: encoder/symbolize/dwarf/lines.c encoder/symbolize/dwarf/lookup.c encoder/symbolize/elf/symbols.c
 * links: encoder/symbolize/elf/strings.c encoder/symbolize/dwarf/split.c */
/* links: encoder/names/elf_symbols.c shim/base/text.c shim/base/pace.c test/fuzz/region_malloc.c */
/* libs: -ldw -lelf -liberty -llzma -lzstd -lz */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include <libelf.h>
#include <stdio.h>

/* --- files in memory of malloc's, so that AddressSanitizer sees their ends ---------------------------- */

static struct {
	Elf *elf;
	char *bytes;
} image[8];

static Elf *begin(int fd)
{
	struct stat s;
	size_t i = 0;
	while (image[i].elf)
		MUST(++i < sizeof image / sizeof *image);
	MUST(fstat(fd, &s) == 0);
	image[i].bytes = malloc((size_t)s.st_size);
	MUST(pread(fd, image[i].bytes, (size_t)s.st_size, 0) == s.st_size);
	image[i].elf = elf_memory(image[i].bytes, (size_t)s.st_size);
	if (!image[i].elf)
		free(image[i].bytes);
	return image[i].elf;
}

static void end(Elf *elf)
{
	size_t i = 0;
	while (elf && image[i].elf != elf)
		i++;
	elf_end(elf);
	if (!elf)
		return;
	free(image[i].bytes);
	image[i].elf = NULL;
}

#define elf_begin(fd, command, of) begin(fd)
#define elf_end(elf) end(elf)
#include "encoder/symbolize/elf/elf_file.c"
#undef elf_begin
#undef elf_end

/* --- looking ------------------------------------------------------------------------------------------ */

#include "encoder/symbolize/dwarf/lookup.h"

static size_t told;

static void check(void *arg, const struct answer *a)
{
	size_t bytes = 0;
	(void)arg;
	told++;
	for (size_t i = 0; i < a->count; i++) {
		const struct frame *f = &a->frame[i];
		MUST(f->name && *f->name && f->system && *f->system && f->file);
		bytes += strlen(f->name) + strlen(f->system) + strlen(f->file);
	}
	MUST(bytes < SIZE_MAX / 2); /* they were read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int file;
	static char path[64];
	uint64_t address[ADDRESSES_MOST];
	const char *why = NULL;
	file_fill(&file, data, size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	struct object *o = object_open(path, NULL, &why);
	MUST(o || why);
	if (!o)
		return 0;
	size_t n = pick_addresses(data, size, address);
	told = 0;
	object_lookup(o, address, n, check, NULL);
	MUST(told == n);
	object_address_of_offset(o, 0x1000);
	object_note(o);
	object_close(o);
	return 0;
}
