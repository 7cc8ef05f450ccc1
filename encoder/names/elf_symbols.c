/* elf_symbols.c - function names from .symtab, else .dynsym.
 *
 * Runs in: listener; pprofshim-symbolize. The file may be hostile or about to be replaced, so nothing in it is trusted:
 * offsets are used by system calls alone, and every count is bounded.
 *
 * The table is read once, in parts. So memory does not grow with the file, only with the number of addresses asked
 * for. Format: ELF gABI, chapter 4.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/elf_symbols.h"

#include <elf.h>
#include <link.h>
#include <sys/uio.h>

#include "encoder/bytes/sort.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

enum {
	PART_BYTES = 48 * 1024, /* a multiple of the symbol's size */
	SECTIONS_MAX = 1 << 16,
	SYMBOLS_MAX = 1 << 26,
	NAME_MAX_BYTES = 4096,
	PIECE_BYTES = 256, /* NAME_MAX_BYTES is a multiple of it */
	UNSIZED_REACH = 4096,
	OFFERS_MAX =
		1 << 26, /* most matches of an address and a symbol: a table with more overlaps is not a real one */
	SIZED = 2,       /* ranks from here on are of symbols with a size */
};

struct table {
	int fd;
	uint64_t at, count;           /* symbols: offset for pread */
	uint64_t names_at, names_len; /* their strings */
	const ElfW(Shdr) * section;   /* NULL: not known */
	uint64_t sections;
};

static long read_at(int fd, void *buf, size_t n, uint64_t at)
{
	struct iovec here = {buf, n}, there = {(void *)(uintptr_t)at, n};
	if (fd != ELF_OWN_MEMORY)
		return os_pread(fd, buf, n, at);
	return os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
}

static bool read_whole(int fd, void *buf, size_t n, uint64_t at)
{
	char *p = buf;
	while (n) {
		long got = (int64_t)at < 0 ? -EINVAL : read_at(fd, p, n, at);
		if (got <= 0)
			return false;
		p += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

/* How good a symbol is. One with a size beats one without; then the nearest wins (compare), then the largest, then a
 * public one; then is_better decides. */
static int rank_of(const ElfW(Sym) * s)
{
	return (s->st_size ? SIZED : 0) + (s->st_info >> 4 != STB_LOCAL);
}

/* Code that was generated when a program was built may be marked as data. */
static bool is_function(const ElfW(Sym) * s)
{
	unsigned type = s->st_info & 0xf;
	return s->st_shndx != SHN_UNDEF && s->st_shndx != SHN_ABS && s->st_value && s->st_name &&
	       (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE || (type == STT_OBJECT && s->st_size));
}

/* Above 0: the symbol is better than the best so far; 0: they are aliases. */
static int compare(const ElfW(Sym) * s, const struct elf_query *q)
{
	int rank = rank_of(s);
	bool sized = rank >= SIZED, had_sized = q->rank >= SIZED;
	if (q->rank < 0 || sized != had_sized)
		return q->rank < 0 || sized ? 1 : -1;
	if (s->st_value != q->start)
		return s->st_value > q->start ? 1 : -1;
	if (s->st_size != q->size)
		return s->st_size > q->size ? 1 : -1;
	return rank - q->rank;
}

static void offer(struct elf_query *q, const ElfW(Sym) * s, uint32_t file_at)
{
	int better = compare(s, q);
	if (better < 0)
		return;
	if (better > 0) {
		q->rank = rank_of(s);
		q->start = s->st_value;
		q->size = s->st_size;
		q->alias_count = 0;
	}
	if (q->alias_count == ELF_ALIASES_MOST) /* the last ones are kept */
		memmove(q->alias, q->alias + 1, (size_t)--q->alias_count * sizeof *q->alias);
	q->alias[q->alias_count++] = (struct elf_alias){s->st_name, file_at};
}

/* Returns how many bytes a symbol covers. One without a size (assembly) covers at most a page, and ends with its
 * section; drop_cut_short ends it at the next symbol. */
static uint64_t reach_of(const struct table *t, const ElfW(Sym) * s)
{
	if (s->st_size)
		return s->st_size;
	if (s->st_shndx >= t->sections || !(t->section[s->st_shndx].sh_flags & SHF_ALLOC))
		return UNSIZED_REACH;
	const ElfW(Shdr) *section = &t->section[s->st_shndx];
	uint64_t in_section = s->st_value - section->sh_addr;
	uint64_t left = in_section < section->sh_size ? section->sh_size - in_section : 0;
	return left < UNSIZED_REACH ? left : UNSIZED_REACH;
}

/* Offer the symbol to all queries that it covers. *file_at is the name of the table's last source file: the local
 * symbols after it belong to it. Returns the number of queries. */
static size_t offer_to_all(const struct table *t, struct elf_query *q, size_t count, const ElfW(Sym) * s,
                           uint32_t *file_at)
{
	bool is_local = s->st_info >> 4 == STB_LOCAL;
	if ((s->st_info & 0xf) == STT_FILE)
		*file_at = s->st_name;
	if (!is_function(s))
		return 0;
	uint64_t reach = reach_of(t, s);
	size_t first = sort_first_from(q, count, sizeof *q, s->st_value), i = first;
	if (i < count && q[i].nearest < s->st_value)
		q[i].nearest = s->st_value;
	for (; i < count && q[i].address - s->st_value < reach; i++)
		offer(&q[i], s, is_local ? *file_at : 0);
	return i - first;
}

/* A symbol without a size ends where the next one begins. */
static void drop_cut_short(struct elf_query *q, size_t count)
{
	uint64_t nearest = 0;
	for (size_t i = 0; i < count; i++) {
		nearest = q[i].nearest > nearest ? q[i].nearest : nearest;
		if (q[i].rank >= 0 && q[i].rank < SIZED && nearest > q[i].start)
			q[i].rank = -1;
	}
}

static int search_table(struct region *r, const struct table *t, struct elf_query *q, size_t count)
{
	char *part = region_alloc(r, PART_BYTES);
	if (!part)
		return -ENOMEM;
	uint64_t left = t->count < SYMBOLS_MAX ? t->count : SYMBOLS_MAX, offers = 0;
	uint32_t file_at = 0;
	for (uint64_t at = t->at; left;) {
		if (pace())
			return -ECANCELED;
		size_t symbols = PART_BYTES / sizeof(ElfW(Sym));
		if (symbols > left)
			symbols = left;
		if (!read_whole(t->fd, part, symbols * sizeof(ElfW(Sym)), at))
			return -EIO;
		const ElfW(Sym) *s = (const void *)part;
		for (size_t i = 0; i < symbols; i++)
			offers += offer_to_all(t, q, count, &s[i], &file_at);
		if (offers > OFFERS_MAX)
			return -ENOEXEC;
		left -= symbols;
		at += symbols * sizeof(ElfW(Sym));
	}
	return 0;
}

/* Read one name, piece by piece: only a few names of a large table are needed. */
static struct span read_name(struct region *r, const struct table *t, uint64_t name_at)
{
	char buf[NAME_MAX_BYTES];
	size_t len = 0;
	while (len < sizeof buf && name_at + len < t->names_len) {
		uint64_t left = t->names_len - name_at - len;
		size_t part = left < PIECE_BYTES ? left : PIECE_BYTES;
		if (!read_whole(t->fd, buf + len, part, t->names_at + name_at + len))
			break;
		const char *end = memchr(buf + len, '\0', part);
		len += end ? (size_t)(end - buf) - len : part;
		if (end)
			break;
	}
	struct span whole = {buf, len};
	struct span name = span_cut(&whole, '@'); /* .symtab appends the version: name@@VERSION */
	char *copy = name.len ? region_alloc(r, name.len) : NULL;
	if (copy)
		memcpy(copy, name.at, name.len);
	return (struct span){copy, copy ? name.len : 0};
}

static size_t underscores_before(struct span name)
{
	size_t n = 0;
	while (n < name.len && name.at[n] == '_')
		n++;
	return n;
}

/* Choose among aliases. The one with the fewest underscores in front wins: for libc, programs call that one. Then the
 * shortest wins, or the first in the alphabet: strtoul, not strtoumax. Of mangled names (two constructors, functions
 * folded into one) the last in the table wins, as in other tools. */
static bool is_better(struct span name, struct span best)
{
	size_t n = underscores_before(name), least = underscores_before(best);
	if (!name.len || !best.len || n != least)
		return name.len && (!best.len || n < least);
	if (n == 1 && (name.at[1] == 'Z' || name.at[1] == 'R'))
		return true;
	return name.len != best.len ? name.len < best.len : memcmp(name.at, best.at, name.len) < 0;
}

static void take_best(struct region *r, const struct table *t, struct elf_query *q)
{
	int best = 0;
	q->name = read_name(r, t, q->alias[0].name_at);
	for (int i = 1; i < q->alias_count; i++) {
		struct span name = read_name(r, t, q->alias[i].name_at);
		if (!is_better(name, q->name))
			continue;
		q->name = name;
		best = i;
	}
	if (q->alias[best].file_at)
		q->file = read_name(r, t, q->alias[best].file_at);
}

static bool has_same_aliases(const struct elf_query *a, const struct elf_query *b)
{
	return a->rank >= 0 && a->alias_count == b->alias_count &&
	       memcmp(a->alias, b->alias, (size_t)a->alias_count * sizeof *a->alias) == 0;
}

static int search(struct region *r, const struct table *t, struct elf_query *q, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		q[i].rank = -1;
		q[i].nearest = 0;
	}
	int error = search_table(r, t, q, count);
	drop_cut_short(q, count);
	for (size_t i = 0; i < count && !error; i++) {
		if (pace())
			return -ECANCELED;
		if (q[i].rank < 0)
			continue;
		if (i > 0 && has_same_aliases(&q[i - 1], &q[i])) {
			q[i].name = q[i - 1].name;
			q[i].file = q[i - 1].file;
		} else {
			take_best(r, t, &q[i]);
		}
	}
	return error;
}

static bool is_ours(const ElfW(Ehdr) * e)
{
	return memcmp(e->e_ident, ELFMAG, SELFMAG) == 0 && e->e_ident[EI_CLASS] == ELFCLASS64 &&
	       e->e_ident[EI_DATA] == ELFDATA2LSB;
}

/* Does this note segment hold a build id other than `id`? */
static bool has_other_id(int fd, const ElfW(Phdr) * p, const uint8_t *id, size_t len)
{
	char buf[1024];
	size_t n = p->p_filesz < sizeof buf ? p->p_filesz : sizeof buf;
	if (p->p_type != PT_NOTE || !read_whole(fd, buf, n, p->p_offset))
		return false;
	for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= n;) {
		ElfW(Nhdr) note;
		memcpy(&note, buf + at, sizeof note);
		size_t name_at = at + sizeof note, desc_at = name_at + ((note.n_namesz + 3u) & ~3u);
		if (desc_at > n || note.n_descsz > n - desc_at)
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(buf + name_at, "GNU", 4) == 0)
			return memcmp(buf + desc_at, id, note.n_descsz < len ? note.n_descsz : len) != 0;
		at = desc_at + ((note.n_descsz + 3u) & ~3u);
	}
	return false;
}

bool elf_has_build_id(int fd, const uint8_t *id, size_t len)
{
	ElfW(Ehdr) e;
	ElfW(Phdr) p;
	if (!len || !read_whole(fd, &e, sizeof e, 0) || !is_ours(&e) || e.e_phentsize != sizeof p)
		return true;
	for (unsigned i = 0; i < e.e_phnum && read_whole(fd, &p, sizeof p, e.e_phoff + i * sizeof p); i++)
		if (has_other_id(fd, &p, id, len))
			return false;
	return true;
}

static int find_file_table(struct region *r, int fd, struct table *t)
{
	ElfW(Ehdr) e;
	if (!read_whole(fd, &e, sizeof e, 0) || !is_ours(&e) || e.e_shentsize != sizeof(ElfW(Shdr)))
		return -ENOEXEC;
	ElfW(Shdr) first;
	uint64_t sections = e.e_shnum;
	if (!sections && e.e_shoff && read_whole(fd, &first, sizeof first, e.e_shoff))
		sections = first.sh_size; /* more than 0xff00 of them */
	if (!sections || sections > SECTIONS_MAX)
		return -ENOEXEC;
	ElfW(Shdr) *s = region_alloc(r, sections * sizeof *s);
	if (!s)
		return -ENOMEM;
	if (!read_whole(fd, s, sections * sizeof *s, e.e_shoff))
		return -EIO;
	const ElfW(Shdr) *best = NULL;
	for (uint64_t i = 0; i < sections; i++)
		if (s[i].sh_type == SHT_SYMTAB || (s[i].sh_type == SHT_DYNSYM && !best))
			best = &s[i];
	if (!best || best->sh_link >= sections || best->sh_entsize != sizeof(ElfW(Sym)))
		return -ENOEXEC;
	const ElfW(Shdr) *names = &s[best->sh_link];
	*t = (struct table){
		.fd = fd,
		.at = best->sh_offset,
		.count = best->sh_size / sizeof(ElfW(Sym)),
		.names_at = names->sh_offset,
		.names_len = names->sh_size,
		.section = s,
		.sections = sections,
	};
	return 0;
}

int elf_symbols_of_file(struct region *r, int fd, struct elf_query *queries, size_t count)
{
	struct table t;
	int error = find_file_table(r, fd, &t);
	return error ? error : search(r, &t, queries, count);
}

/* Only the hash table tells the number of dynamic symbols: one more than the last symbol of the last chain. */
static uint64_t count_by_gnu_hash(int fd, uint64_t hash_at)
{
	uint32_t header[4]; /* buckets, first symbol, bloom words, shift */
	if (!read_whole(fd, header, sizeof header, hash_at))
		return 0;
	uint64_t buckets_at = hash_at + sizeof header + (uint64_t)header[2] * sizeof(ElfW(Addr));
	uint64_t chains_at = buckets_at + (uint64_t)header[0] * 4;
	uint32_t last = 0, bucket, chain = 0;
	for (uint32_t i = 0; i < header[0] && i < SYMBOLS_MAX; i++) {
		if (!read_whole(fd, &bucket, sizeof bucket, buckets_at + (uint64_t)i * 4))
			return 0;
		last = bucket > last ? bucket : last;
	}
	if (last < header[1])
		return 0;
	while (last < SYMBOLS_MAX &&
	       read_whole(fd, &chain, sizeof chain, chains_at + (uint64_t)(last - header[1]) * 4)) {
		last++;
		if (chain & 1)
			return last;
	}
	return 0;
}

int elf_symbols_of_memory(struct region *r, int fd, uint64_t base, uint64_t bias, struct elf_query *queries,
                          size_t count)
{
	ElfW(Ehdr) e;
	ElfW(Phdr) p = {0};
	struct table t = {.fd = fd};
	uint64_t hash = 0;
	if (!read_whole(fd, &e, sizeof e, base) || !is_ours(&e) || e.e_phentsize != sizeof p)
		return -ENOEXEC;
	for (unsigned i = 0; i < e.e_phnum && p.p_type != PT_DYNAMIC; i++)
		if (!read_whole(fd, &p, sizeof p, base + e.e_phoff + i * sizeof p))
			return -EIO;
	if (p.p_type != PT_DYNAMIC)
		return -ENOEXEC;
	for (uint64_t at = bias + p.p_vaddr;; at += sizeof(ElfW(Dyn))) {
		ElfW(Dyn) d;
		if (at >= bias + p.p_vaddr + p.p_memsz || !read_whole(fd, &d, sizeof d, at) || d.d_tag == DT_NULL)
			break;
		uint64_t value = d.d_un.d_ptr < bias ? d.d_un.d_ptr + bias : d.d_un.d_ptr;
		switch (d.d_tag) {
		case DT_SYMTAB: t.at = value; break;
		case DT_STRTAB: t.names_at = value; break;
		case DT_STRSZ: t.names_len = d.d_un.d_val; break;
		case DT_GNU_HASH: hash = value; break;
		default: break;
		}
	}
	t.count = hash && t.at ? count_by_gnu_hash(fd, hash) : 0;
	return t.count ? search(r, &t, queries, count) : -ENOEXEC;
}
