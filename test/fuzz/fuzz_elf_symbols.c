/* fuzz_elf_symbols.c - any bytes as the file that a module was loaded from, and as its image in memory.
 *
 * Runs in: its own process, under libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/elf_symbols.c shim/base/text.c shim/base/pace.c test/fuzz/region_malloc.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "encoder/names/elf_symbols.h"

enum { BASE = 0x10000, IMAGE_MOST = 1 << 16 };

static size_t prepare(const uint8_t *data, size_t size, struct elf_query *q)
{
	uint64_t address[ADDRESSES_MOST];
	size_t n = pick_addresses(data, size, address);
	for (size_t i = 0; i < n; i++)
		q[i] = (struct elf_query){.address = address[i]};
	return n;
}

static void check(const struct elf_query *q, size_t count, int error)
{
	for (size_t i = 0; i < count; i++) {
		MUST(!error || (!q[i].name.len && !q[i].file.len));
		MUST(!q[i].file.len || !memchr(q[i].file.at, 0, q[i].file.len));
		MUST(!q[i].name.len ||
		     (q[i].start <= q[i].address && q[i].start && !memchr(q[i].name.at, 0, q[i].name.len)));
	}
}

static void try_file(int fd, const uint8_t *data, size_t size)
{
	struct elf_query q[ADDRESSES_MOST];
	struct region r = {0};
	size_t n = prepare(data, size, q);
	check(q, n, elf_symbols_of_file(&r, fd, q, n));
	region_release(&r);
}

static void try_memory(int fd, const uint8_t *data, size_t size, uint64_t base)
{
	struct elf_query q[ADDRESSES_MOST];
	struct region r = {0};
	size_t n = prepare(data, size, q);
	check(q, n, elf_symbols_of_memory(&r, fd, base, base, q, n));
	region_release(&r);
}

/* As the loader would have it, as far as that is possible. */
static void load(int fd, const uint8_t *data, size_t size)
{
	Elf64_Phdr p;
	for (unsigned i = 0; i < 64 && elf_segment(data, size, i, &p); i++)
		if (p.p_type == PT_LOAD && p.p_vaddr < IMAGE_MOST && p.p_offset < size) {
			size_t n = size - p.p_offset < p.p_filesz ? size - p.p_offset : p.p_filesz;
			MUST(pwrite(fd, data + p.p_offset, n, (off_t)(BASE + p.p_vaddr)) == (ssize_t)n);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int file, image;
	static const uint8_t id[32] = {0x12, 0x34};
	file_fill(&file, data, size);
	elf_has_build_id(file, id, 20);
	elf_has_build_id(file, id, sizeof id);
	try_file(file, data, size);
	try_memory(file, data, size, 0);
	file_fill(&image, NULL, 0);
	load(image, data, size);
	try_memory(image, data, size, BASE);
	return 0;
}
