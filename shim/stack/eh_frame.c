/* eh_frame.c - unwind tables of objects whose linker wrote no table to search them by.
 *
 * Runs in: app's thread inside a hook, listener, on the learner's stack. The LEARN lock is held.
 * So: memory is read by ways that cannot fault, a piece at a time, and not more of it than SCAN_MOST. The index is of
 * the arena; it is made once for an object, and never freed.
 *
 * Sections have no names in memory. But the first record of .eh_frame, a CIE, looks like nothing else: a length, a
 * zero, a version, letters, and the three numbers that all CIEs of a machine share. The records behind it follow one
 * another. So the segments that are not written to are searched for one, and its followers are taken as far as they
 * make sense.
 *
 * Format: LSB core, "Exception frames".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/eh_frame.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "shim/arch/arch.h"
#include "shim/base/arena.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/peek.h"

enum {
	INDEXES = 64,
	PIECE_BYTES = 16384,
	SCAN_MOST = 32 << 20,        /* bytes, by the listener: some 10 ms */
	SCAN_MOST_IN_HOOK = 1 << 20, /* by a thread of the program */
	FUNCTIONS_MOST = 1 << 18,
	PHDRS_MOST = 64,
	RECORD_MOST = 1 << 16,
	CIE_LEAST = 12,
	CIE_MOST = 64,
	LETTERS_MOST = 8,
	CIES_KEPT = 32,
	OMITTED = 0xff,
};

static struct eh_index indexes[INDEXES];
static size_t index_count;

static struct {
	uintptr_t at;
	size_t bytes;
	char piece[PIECE_BYTES];
} reader LARGE;

/* The result of a scan. If entries is NULL, the scan only counts. */
struct scan {
	const struct module *module;
	struct eh_entry *entries;
	size_t count, room;
	size_t left_bytes; /* to be read at most */
	bool is_cut;       /* there was more to be read */
	struct {
		uintptr_t at;
		uint8_t encoding;
	} cie[CIES_KEPT]; /* by hash of the address */
};

/* Returns the bytes at an address, or NULL if not all can be read. They are valid until the next call. */
static const uint8_t *bytes_at(struct scan *s, uintptr_t at, size_t bytes)
{
	if (at < reader.at || at - reader.at + bytes > reader.bytes) {
		size_t most = s->module->end - at < PIECE_BYTES ? s->module->end - at : PIECE_BYTES;
		if (at < s->module->start || at >= s->module->end || bytes > most)
			return NULL;
		if (s->left_bytes < most) {
			s->is_cut = true;
			return NULL;
		}
		s->left_bytes -= most;
		reader.at = at;
		reader.bytes = peek(at, reader.piece, most) ? most : 0;
		if (!reader.bytes && peek(at, reader.piece, bytes)) /* what lies behind can't be read */
			reader.bytes = bytes;
		if (!reader.bytes)
			return NULL;
	}
	return (const uint8_t *)reader.piece + (at - reader.at);
}

static uint32_t word_of(const uint8_t *at)
{
	uint32_t word;
	memcpy(&word, at, sizeof word);
	return word;
}

/* How a CIE that begins with these bytes (CIE_MOST of them) says that functions' addresses are written; OMITTED if it
 * is no CIE. */
static uint8_t encoding_of(const uint8_t *cie)
{
	uint32_t length = word_of(cie);
	const uint8_t *letters = cie + 9, *end = memchr(letters, 0, LETTERS_MOST);
	if (length < CIE_LEAST || length > CIE_MOST - 4 || word_of(cie + 4) || (cie[8] != 1 && cie[8] != 3) || !end)
		return OMITTED;
	if (end[1] != ARCH_CIE_CODE_ALIGN || end[2] != ARCH_CIE_DATA_ALIGN || end[3] != ARCH_CIE_RETURN)
		return OMITTED;
	const uint8_t *data = end + 5; /* behind the length of what the letters announce */
	if (letters == end)
		return 0; /* absolute */
	for (const uint8_t *l = letters + 1; letters[0] == 'z' && l < end; l++) {
		if (*l == 'R')
			return *data;
		if (*l == 'P')
			data += (*data & 0xf) == 0xb || (*data & 0xf) == 3 ? 5 : 9;
		else if (*l == 'L')
			data++;
		else if (*l != 'S' && *l != 'B')
			return OMITTED;
	}
	return letters[0] == 'z' && end == letters + 1 ? 0 : OMITTED;
}

static uint8_t encoding_at(struct scan *s, uintptr_t at)
{
	size_t i = at / 8 % CIES_KEPT;
	if (s->cie[i].at != at) {
		const uint8_t *cie = bytes_at(s, at, CIE_MOST);
		s->cie[i].encoding = cie ? encoding_of(cie) : OMITTED;
		s->cie[i].at = at;
	}
	return s->cie[i].encoding;
}

/* Returns the address of a function that is written at `at`; 0 if we don't know this form. */
static uintptr_t function_at(struct scan *s, uintptr_t at, uint8_t encoding)
{
	enum { SIGNED_4 = 0xb, UNSIGNED_4 = 3, RELATIVE = 0x10 };
	const uint8_t *b = bytes_at(s, at, 8);
	uint64_t value;
	if (!b || encoding == OMITTED || (encoding & 0xf0 & ~RELATIVE))
		return 0;
	memcpy(&value, b, sizeof value);
	if ((encoding & 0xf) == SIGNED_4)
		value = (uint64_t)(int64_t)(int32_t)value;
	else if ((encoding & 0xf) == UNSIGNED_4)
		value = (uint32_t)value;
	return value + (encoding & RELATIVE ? at : 0);
}

static void add(struct scan *s, uintptr_t function, uintptr_t entry)
{
	if (function < s->module->start || function >= s->module->end || s->count >= FUNCTIONS_MOST)
		return;
	if (s->entries && s->count < s->room)
		s->entries[s->count] =
			(struct eh_entry){(int32_t)(function - s->module->start), (int32_t)(entry - s->module->start)};
	s->count += !s->entries || s->count < s->room;
}

/* Takes records from a CIE on. Returns where they end. */
static uintptr_t take_records(struct scan *s, uintptr_t at)
{
	for (const uint8_t *b; (b = bytes_at(s, at, 8));) {
		uint32_t length = word_of(b), back = word_of(b + 4);
		if (!length || length > RECORD_MOST || length % 4)
			break;
		uint8_t encoding = encoding_at(s, back ? at + 4 - back : at);
		if (encoding == OMITTED)
			break;
		if (back)
			add(s, function_at(s, at + 8, encoding), at);
		at += length + 4;
	}
	return at;
}

static void scan_segment(struct scan *s, uintptr_t at, uintptr_t end)
{
	for (at = (at + 3) & ~(uintptr_t)3; at + CIE_MOST <= end; at += 4) {
		const uint8_t *b = bytes_at(s, at, CIE_MOST);
		if (!b)
			return;
		if (word_of(b + 4) || encoding_of(b) == OMITTED)
			continue;
		uintptr_t behind = take_records(s, at);
		at = behind > at + 4 ? behind - 4 : at;
	}
}

/* Scans the segments that are not written to, as the object's own headers list them. */
static void scan_all(struct scan *s)
{
	ElfW(Ehdr) header;
	ElfW(Phdr) p;
	s->count = 0;
	s->left_bytes = house_is_ours() ? SCAN_MOST_IN_HOOK : SCAN_MOST;
	reader.bytes = 0;
	if (!peek(s->module->start, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return;
	for (unsigned i = 0; i < header.e_phnum && i < PHDRS_MOST; i++)
		if (peek(s->module->start + header.e_phoff + i * sizeof p, &p, sizeof p) && p.p_type == PT_LOAD &&
		    (p.p_flags & (PF_R | PF_W)) == PF_R)
			scan_segment(s, s->module->bias + p.p_vaddr, s->module->bias + p.p_vaddr + p.p_memsz);
}

/* Shell's sort: most functions are in their order already. */
static void sort(struct eh_entry *e, size_t count)
{
	for (size_t gap = count / 2; gap; gap /= 2)
		for (size_t i = gap; i < count; i++) {
			struct eh_entry one = e[i];
			size_t k = i;
			for (; k >= gap && e[k - gap].function > one.function; k -= gap)
				e[k] = e[k - gap];
			e[k] = one;
		}
}

static void make_index(struct eh_index *index)
{
	struct scan s = {.module = index->module};
	if (index->module->end - index->module->start > INT32_MAX)
		return;
	scan_all(&s);
	index->is_cut = s.is_cut && house_is_ours();
	if (index->is_cut)
		return;
	s.room = s.count;
	s.entries = s.count ? arena_alloc(s.count * sizeof *s.entries) : NULL;
	if (!s.entries)
		return;
	scan_all(&s);
	sort(s.entries, s.count);
	index->at = s.entries;
	index->count = s.count;
}

/* Returns the object's row, or a new one, whose module is NULL; NULL: there is none left. */
static struct eh_index *find(const struct module *m)
{
	for (size_t i = 0; i < index_count; i++)
		if (indexes[i].module == m)
			return &indexes[i];
	return index_count == INDEXES ? NULL : &indexes[index_count++];
}

const struct eh_index *eh_frame_index_locked(const struct module *m)
{
	struct eh_index *index = find(m);
	if (!index)
		return NULL;
	if (!index->module || (index->is_cut && !house_is_ours())) {
		*index = (struct eh_index){.module = m};
		make_index(index);
	}
	return index->is_cut ? NULL : index;
}
