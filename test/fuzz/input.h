/* input.h - what fuzz targets share: bytes as a file, and addresses worth asking a file about.
 *
 * Runs in: fuzz targets.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FUZZ_INPUT_H
#define PPROFSHIM_FUZZ_INPUT_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition) ((condition) ? (void)0 : abort())

/* A file of these bytes, at its beginning. *fd: 0 at first; the same file is used again. */
static inline void file_fill(int *fd, const void *bytes, size_t len)
{
	if (!*fd) {
		*fd = memfd_create("fuzz", MFD_CLOEXEC);
		MUST(*fd > 0 && fchmod(*fd, 0600) == 0);
	}
	MUST(ftruncate(*fd, 0) == 0);
	MUST(len == 0 || pwrite(*fd, bytes, len, 0) == (ssize_t)len);
	MUST(lseek(*fd, 0, SEEK_SET) == 0);
}

/* The i-th program header, where there is one. */
static inline bool elf_segment(const uint8_t *data, size_t size, unsigned i, Elf64_Phdr *p)
{
	Elf64_Ehdr e;
	if (size < sizeof e)
		return false;
	memcpy(&e, data, sizeof e);
	if (i >= e.e_phnum || e.e_phoff > size || (i + 1) * sizeof *p > size - e.e_phoff)
		return false;
	memcpy(p, data + e.e_phoff + i * sizeof *p, sizeof *p);
	return true;
}

static inline int address_before(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

enum { ADDRESSES_MOST = 160 };

/* Addresses all over the executable segments, at the beginning (of a relocatable file) and at the ends; ascending, each
 * once. Returns their number. */
static inline size_t pick_addresses(const uint8_t *data, size_t size, uint64_t *address)
{
	enum { EACH = 48 };
	size_t n = 0, kept = 0;
	Elf64_Phdr p;
	for (unsigned i = 0; n + EACH <= ADDRESSES_MOST - EACH && elf_segment(data, size, i, &p); i++)
		for (unsigned k = 0; k < EACH && p.p_type == PT_LOAD && (p.p_flags & PF_X); k++)
			address[n++] = p.p_vaddr + p.p_memsz / EACH * k + k % 4;
	for (unsigned k = 0; k < EACH - 2; k++)
		address[n++] = k * 12;
	address[n++] = UINT64_MAX;
	address[n++] = UINT64_MAX / 2;
	qsort(address, n, sizeof *address, address_before);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || address[i] != address[i - 1])
			address[kept++] = address[i];
	return kept;
}

#endif
