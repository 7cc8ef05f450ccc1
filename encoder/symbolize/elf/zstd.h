/* zstd.h - an ELF file's sections that are packed by zstd.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ZSTD_H
#define PPROFSHIM_ZSTD_H

#include "encoder/symbolize/elf/elf_file.h"

/* Unpack all of them, before anybody has asked libelf for their contents: it gives the unpacked ones from then on,
 * which last as long as the file is open. Returns false if one is damaged, or there is no memory for it; it stays as it
 * is. */
bool zstd_unpack(struct elf_file *f);

/* For elf_file_close. */
void zstd_release(struct elf_file *f);

#endif
