/* elf_file.h - an open ELF file: its build id and where its segments lie.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ELF_FILE_H
#define PPROFSHIM_ELF_FILE_H

#include <libelf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUILD_ID_MOST = 64 };

struct elf_file {
	int fd;
	Elf *elf;   /* mapped read-only: pages of a private, unwritable mapping are not data (RLIMIT_DATA) */
	char *path; /* NULL: it has none */
	uint8_t id[BUILD_ID_MOST];
	size_t id_len; /* 0: it has no build id */
};

/* A new one, or NULL and *why: not there, no 64-bit ELF file of this machine's byte order, no memory. */
struct elf_file *elf_file_open(const char *path, const char **why);

/* Takes over fd, a file without a name; NULL: it isn't an ELF file (fd is closed). */
struct elf_file *elf_file_of(int fd);

void elf_file_close(struct elf_file *f); /* NULL: nothing */

/* The address in the headers of byte `offset`, in an executable segment; UINT64_MAX: there is none. */
uint64_t elf_file_address_of_offset(const struct elf_file *f, uint64_t offset);

/* What is added to an address of `a` for the same place in `b` (they differ by prelink); 0 where it can't be told. */
uint64_t elf_file_shift(const struct elf_file *a, const struct elf_file *b);

/* The section with one of two names (NULL: none), of any type but SHT_NOBITS. NULL: there is none. */
Elf_Scn *elf_file_section(const struct elf_file *f, const char *name, const char *other_name);

/* Has the section contents (and not only a header, as a stripped file's .debug_info or a debug file's .text)? */
bool elf_file_has(const struct elf_file *f, const char *name, const char *other_name);

/* The CRC of .gnu_debuglink, over the whole file. */
bool elf_file_has_crc(const struct elf_file *f, uint32_t crc);

#endif
