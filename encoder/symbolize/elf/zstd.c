/* zstd.c - unpack an ELF file's sections that are packed by zstd. libelf of Debian 12 unpacks those of zlib alone.
 *
 * Runs in: pprofshim-symbolize. A file may say any size: RLIMIT_DATA limits what is asked for, and a page counts only
 * once it is written.
 *
 * Formats: the ELF gABI, "Compressed Sections" (ELFCOMPRESS_ZSTD); RFC 8878.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/elf/zstd.h"

#include <gelf.h>
#include <stdlib.h>
#include <zstd.h>

#ifndef ELFCOMPRESS_ZSTD /* glibc has it since 2.37 */
#define ELFCOMPRESS_ZSTD 2
#endif

struct unpacked {
	struct unpacked *next;
	_Alignas(16) char bytes[];
};

static struct unpacked *unpack(const GElf_Chdr *head, const Elf_Data *packed)
{
	enum { MOST_BY_BYTE = 1 << 15 }; /* a block of 128 KiB takes four bytes at least */
	if (packed->d_size <= sizeof(Elf64_Chdr) || head->ch_size / MOST_BY_BYTE > packed->d_size)
		return NULL;
	struct unpacked *u = malloc(sizeof *u + head->ch_size);
	if (!u)
		return NULL;
	size_t size = ZSTD_decompress(u->bytes, head->ch_size, (const char *)packed->d_buf + sizeof(Elf64_Chdr),
	                              packed->d_size - sizeof(Elf64_Chdr));
	if (!ZSTD_isError(size) && size == head->ch_size)
		return u;
	free(u);
	return NULL;
}

/* libelf gives out the same two structures each time, raw and converted. */
static void give(Elf_Data *d, struct unpacked *u, const GElf_Chdr *head)
{
	d->d_buf = u->bytes;
	d->d_size = head->ch_size;
	d->d_align = head->ch_addralign;
	d->d_type = ELF_T_BYTE;
}

static bool unpack_section(struct elf_file *f, Elf_Scn *scn, GElf_Shdr *s, const GElf_Chdr *head)
{
	Elf_Data *raw = elf_rawdata(scn, NULL), *d = elf_getdata(scn, NULL);
	struct unpacked *u = raw && d ? unpack(head, raw) : NULL;
	if (!u)
		return false;
	u->next = f->unpacked;
	f->unpacked = u;
	s->sh_flags &= ~(GElf_Xword)SHF_COMPRESSED;
	s->sh_size = head->ch_size;
	s->sh_addralign = head->ch_addralign;
	give(raw, u, head);
	give(d, u, head);
	return gelf_update_shdr(scn, s) != 0;
}

bool zstd_unpack(struct elf_file *f)
{
	GElf_Shdr s;
	GElf_Chdr head;
	bool all = true;
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(f->elf, scn));)
		if (gelf_getshdr(scn, &s) && s.sh_type != SHT_NOBITS && (s.sh_flags & SHF_COMPRESSED) &&
		    gelf_getchdr(scn, &head) && head.ch_type == ELFCOMPRESS_ZSTD)
			all &= unpack_section(f, scn, &s, &head);
	return all;
}

void zstd_release(struct elf_file *f)
{
	for (struct unpacked *u = f->unpacked, *next; u; u = next) {
		next = u->next;
		free(u);
	}
	f->unpacked = NULL;
}
