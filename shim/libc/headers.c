/* headers.c - read what a loaded object says of itself.
 *
 * Runs in: as headers.h says. So: memory that may be unmapped meanwhile is read through peek.h alone: libc unloads
 * objects of its own (character sets, NSS) while others look at them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/headers.h"

#include <elf.h>
#include <stddef.h>
#include <string.h>

#include "shim/base/layout.h"
#include "shim/base/peek.h"
#include "shim/base/text.h"

enum {
	HEAD_BYTES = 4096,
	NOTE_BYTES = 1024, /* the most that is read of a segment of notes */
	PATH_BYTES = 4096,
	PHDRS_MOST = 256,
};

/* Buffers for what is read of an object before it is known. Under lock. */
static struct {
	ElfW(Ehdr) header;
	ElfW(Phdr) phdr[PHDRS_MOST];
	struct link_map map;
	struct module_text text[PHDRS_MOST];
	char path[PATH_BYTES];
	uint64_t bytes[HEAD_BYTES / sizeof(uint64_t)];
} seen LARGE;

/* stable: the object can't go away meanwhile (the loader's lock is held). */
static bool fetch(bool stable, uintptr_t at, void *to, size_t bytes)
{
	if (!stable)
		return peek(at, to, bytes);
	memcpy(to, (const void *)at, bytes);
	return true;
}

static void read_build_id(struct module *m, const ElfW(Phdr) * p, bool stable)
{
	size_t bytes = p->p_memsz < NOTE_BYTES ? p->p_memsz : NOTE_BYTES;
	if (!fetch(stable, m->bias + p->p_vaddr, seen.bytes, bytes))
		return;
	uintptr_t at = (uintptr_t)seen.bytes, end = at + bytes;
	while (at + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *n = (const void *)at;
		const char *name = (const char *)(n + 1);
		const uint8_t *desc = (const uint8_t *)name + ((n->n_namesz + 3u) & ~3u);
		if ((uintptr_t)desc + n->n_descsz > end)
			return;
		if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
			m->build_id_len = n->n_descsz < sizeof m->build_id ? n->n_descsz : sizeof m->build_id;
			memcpy(m->build_id, desc, m->build_id_len);
			return;
		}
		at = (uintptr_t)desc + ((n->n_descsz + 3u) & ~3u);
	}
}

static void read_segments(struct module *m, const ElfW(Phdr) * phdr, unsigned count, bool stable)
{
	m->start = UINTPTR_MAX;
	m->text = seen.text;
	for (unsigned i = 0; i < count; i++) {
		const ElfW(Phdr) *p = &phdr[i];
		uintptr_t start = m->bias + p->p_vaddr, end = start + p->p_memsz;
		switch (p->p_type) {
		case PT_LOAD:
			m->start = start < m->start ? start : m->start;
			m->end = end > m->end ? end : m->end;
			if ((p->p_flags & PF_X) && m->text_count < PHDRS_MOST)
				m->text[m->text_count++] = (struct module_text){start, end, p->p_offset};
			break;
		case PT_NOTE:
			if (!m->build_id_len)
				read_build_id(m, p, stable);
			break;
		case PT_GNU_EH_FRAME: m->unwind_table = start; break;
		default: break;
		}
	}
}

/* Hash what tells a file without a build id from its successor: its headers and the tables behind them. */
static void read_head(struct module *m, const ElfW(Phdr) * phdr, unsigned count, bool stable)
{
	for (unsigned i = 0; i < count; i++) {
		const ElfW(Phdr) *p = &phdr[i];
		if (p->p_type != PT_LOAD || p->p_offset || (p->p_flags & (PF_R | PF_W)) != PF_R)
			continue;
		unsigned bytes = p->p_filesz < HEAD_BYTES ? (unsigned)p->p_filesz : HEAD_BYTES;
		if (fetch(stable, m->bias + p->p_vaddr, seen.bytes, bytes)) {
			m->head_bytes = bytes;
			m->head_hash = text_hash((const void *)seen.bytes, bytes);
		}
		return;
	}
}

void headers_tell_locked(const struct headers *h, struct module *m)
{
	read_segments(m, h->phdr, h->count, h->stable);
	if (!m->build_id_len)
		read_head(m, h->phdr, h->count, h->stable);
}

bool headers_copy_locked(const struct dl_find_object *o, struct headers *h)
{
	const ElfW(Ehdr) *e = &seen.header;
	uintptr_t at = (uintptr_t)o->dlfo_map_start;
	bool is_whole = peek(at, &seen.header, sizeof seen.header) && memcmp(e->e_ident, ELFMAG, SELFMAG) == 0 &&
	                e->e_phentsize == sizeof(ElfW(Phdr)) && e->e_phnum <= PHDRS_MOST &&
	                peek(at + e->e_phoff, seen.phdr, e->e_phnum * sizeof(ElfW(Phdr))) &&
	                peek((uintptr_t)o->dlfo_link_map, &seen.map, offsetof(struct link_map, l_ld)) &&
	                peek_text((uintptr_t)seen.map.l_name, seen.path, sizeof seen.path);
	*h = (struct headers){seen.map.l_addr, seen.path, seen.phdr, e->e_phnum, false};
	return is_whole;
}
