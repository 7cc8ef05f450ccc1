/* elf_file.c - open an ELF file with libelf.
 *
 * Runs in: pprofshim-symbolize. libelf checks sizes. If a file shrinks while it is mapped, a SIGBUS ends this process
 * alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/elf/elf_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "encoder/symbolize/elf/zstd.h"

static bool is_ours(Elf *elf)
{
	size_t size;
	const char *ident = elf ? elf_getident(elf, &size) : NULL;
	return ident && elf_kind(elf) == ELF_K_ELF && size > EI_DATA && ident[EI_CLASS] == ELFCLASS64 &&
	       ident[EI_DATA] == ELFDATA2LSB;
}

static void read_build_id(struct elf_file *f)
{
	const void *id;
	ssize_t len = dwelf_elf_gnu_build_id(f->elf, &id);
	if (len <= 0 || len > BUILD_ID_MOST)
		return;
	memcpy(f->id, id, (size_t)len);
	f->id_len = (size_t)len;
}

static struct elf_file *open_fd(int fd, const char *path, const char **why)
{
	struct elf_file *f = calloc(1, sizeof *f);
	*why = "no memory";
	if (!f) {
		close(fd);
		return NULL;
	}
	f->fd = fd;
	f->path = path ? strdup(path) : NULL;
	f->elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!is_ours(f->elf)) {
		*why = "not an ELF file of 64 bits";
		elf_file_close(f);
		return NULL;
	}
	read_build_id(f);
	return f;
}

struct elf_file *elf_file_open(const char *path, const char **why)
{
	struct stat s;
	elf_version(EV_CURRENT);
	/* a FIFO must not hang us */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	*why = "cannot be opened";
	if (fd < 0)
		return NULL;
	if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode))
		return open_fd(fd, path, why);
	*why = "not a file";
	close(fd);
	return NULL;
}

struct elf_file *elf_file_of(int fd)
{
	const char *why;
	elf_version(EV_CURRENT);
	return open_fd(fd, NULL, &why);
}

void elf_file_close(struct elf_file *f)
{
	if (!f)
		return;
	elf_end(f->elf);
	zstd_release(f);
	close(f->fd);
	free(f->path);
	free(f);
}

/* Find the next executable PT_LOAD from index *at on. */
static bool next_code(const struct elf_file *f, size_t *at, GElf_Phdr *p)
{
	size_t count;
	if (elf_getphdrnum(f->elf, &count) < 0 || count > 1 << 16)
		return false;
	while (*at < count)
		if (gelf_getphdr(f->elf, (int)(*at)++, p) && p->p_type == PT_LOAD && (p->p_flags & PF_X))
			return true;
	return false;
}

uint64_t elf_file_address_of_offset(const struct elf_file *f, uint64_t offset)
{
	GElf_Phdr p;
	for (size_t at = 0; next_code(f, &at, &p);)
		if (offset >= p.p_offset && offset - p.p_offset < p.p_filesz)
			return p.p_vaddr + (offset - p.p_offset);
	/* a mapping begins at a page boundary, which may be before its segment */
	for (size_t at = 0; next_code(f, &at, &p);)
		if (offset < p.p_offset && p.p_offset - offset < 4096 && p.p_vaddr >= p.p_offset - offset)
			return p.p_vaddr - (p.p_offset - offset);
	return UINT64_MAX;
}

enum { CALL = 0xe8, CALL_BYTES = 5 }; /* and the distance from its end, 32 bits */

uint64_t elf_file_call_target(const struct elf_file *f, uint64_t end)
{
	GElf_Ehdr head;
	GElf_Phdr p;
	size_t size, at = 0;
	const char *bytes = elf_rawfile(f->elf, &size);
	if (!bytes || !gelf_getehdr(f->elf, &head) || head.e_machine != EM_X86_64)
		return 0;
	while (next_code(f, &at, &p)) {
		uint64_t begin = end - CALL_BYTES, offset = begin - p.p_vaddr + p.p_offset;
		int32_t distance;
		if (begin < p.p_vaddr || end - p.p_vaddr > p.p_filesz || offset > size || size - offset < CALL_BYTES)
			continue;
		memcpy(&distance, bytes + offset + 1, sizeof distance);
		return (unsigned char)bytes[offset] == CALL ? end + (uint64_t)(int64_t)distance : 0;
	}
	return 0;
}

uint64_t elf_file_shift(const struct elf_file *a, const struct elf_file *b)
{
	GElf_Phdr pa, pb;
	size_t at_a = 0, at_b = 0;
	if (!next_code(a, &at_a, &pa) || !next_code(b, &at_b, &pb) || pa.p_memsz != pb.p_memsz)
		return 0;
	return pb.p_vaddr - pa.p_vaddr;
}

Elf_Scn *elf_file_section(const struct elf_file *f, const char *name, const char *other_name)
{
	size_t names;
	GElf_Shdr s;
	if (elf_getshdrstrndx(f->elf, &names) < 0)
		return NULL;
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(f->elf, scn));) {
		if (!gelf_getshdr(scn, &s) || s.sh_type == SHT_NOBITS)
			continue;
		const char *its = elf_strptr(f->elf, names, s.sh_name);
		if (its && (strcmp(its, name) == 0 || (other_name && strcmp(its, other_name) == 0)))
			return scn;
	}
	return NULL;
}

bool elf_file_has(const struct elf_file *f, const char *name, const char *other_name)
{
	GElf_Shdr s;
	Elf_Scn *scn = elf_file_section(f, name, other_name);
	return scn && gelf_getshdr(scn, &s) && s.sh_size;
}

bool elf_file_has_crc(const struct elf_file *f, uint32_t crc)
{
	enum { PART = 256 * 1024 };
	unsigned char *part = malloc(PART);
	uLong sum = crc32(0, NULL, 0);
	ssize_t got = part ? 1 : -1;
	for (off_t at = 0; part && (got = pread(f->fd, part, PART, at)) > 0; at += got)
		sum = crc32(sum, part, (uInt)got);
	free(part);
	return got == 0 && (uint32_t)sum == crc;
}
