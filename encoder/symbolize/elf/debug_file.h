/* debug_file.h - where the debug information of an ELF file is, if it isn't in the file.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DEBUG_FILE_H
#define PPROFSHIM_DEBUG_FILE_H

#include "encoder/symbolize/elf/elf_file.h"

/* Set the colon-separated folders that are searched before /usr/lib/debug; NULL: none. The string is not copied. */
void debug_file_set_dirs(const char *dirs);

/* Find the separate debug file of f, by build id or .gnu_debuglink. NULL: there is none. */
struct elf_file *debug_file_find(const struct elf_file *f);

/* Find dwz's supplementary file, which .gnu_debugaltlink of the debug file names. Its build id must be `id`. */
struct elf_file *debug_file_find_alt(const struct elf_file *debug, const char *name, const uint8_t *id, size_t id_len);

/* Unpack the small ELF file in .gnu_debugdata into memory. It has only a .symtab of functions. NULL: there is none. */
struct elf_file *debug_file_unpack_mini(const struct elf_file *f);

#endif
