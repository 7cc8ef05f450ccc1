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
	Elf *elf;   /* mapped read-only, so that RLIMIT_DATA does not count the pages */
	char *path; /* NULL: it has none */
	uint8_t id[BUILD_ID_MOST];
	size_t id_len;             /* 0: it has no build id */
	struct unpacked *unpacked; /* sections that zstd.c unpacked */
};

/* Open a file. Returns NULL, with the reason in *why, if it is not there, not a 64-bit ELF file of this machine's byte
 * order, or there is no memory. */
struct elf_file *elf_file_open(const char *path, const char **why);

/* Take over fd, a file without a name. Returns NULL if it isn't an ELF file; fd is then closed. */
struct elf_file *elf_file_of(int fd);

void elf_file_close(struct elf_file *f); /* NULL: nothing */

/* Returns the address that the headers give byte `offset` in an executable segment; UINT64_MAX: there is none. */
uint64_t elf_file_address_of_offset(const struct elf_file *f, uint64_t offset);

/* Returns the address that the call which ends before `end` goes to, by its machine code; 0: it is no direct call, or
 * of another machine than x86-64. */
uint64_t elf_file_call_target(const struct elf_file *f, uint64_t end);

/* Returns what to add to an address in `a` to get the same place in `b` (they differ after prelink); 0: not known. */
uint64_t elf_file_shift(const struct elf_file *a, const struct elf_file *b);

/* Find the section with one of two names (other_name may be NULL), of any type but SHT_NOBITS. NULL: there is none. */
Elf_Scn *elf_file_section(const struct elf_file *f, const char *name, const char *other_name);

/* Does the section have contents? (A stripped file's .debug_info or a debug file's .text may have only a header.) */
bool elf_file_has(const struct elf_file *f, const char *name, const char *other_name);

/* Has the whole file this CRC, which comes from .gnu_debuglink? */
bool elf_file_has_crc(const struct elf_file *f, uint32_t crc);

#endif
