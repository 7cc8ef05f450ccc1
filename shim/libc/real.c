/* real.c - find the next definition of every hooked symbol.
 *
 * Runs in: app's thread inside a hook (first call of each symbol), init. Before our constructor too.
 * So: no allocation, no dlsym, no lock of the loader's.
 * Shared: the real_<symbol> pointers, written once with a release store (two threads that race write
 * the same value), read plainly: a stale read finds the stub, which does the same again.
 *
 * Formats: ELF gABI, DT_GNU_HASH and symbol versions as in the "ELF Handling For Symbol Versioning" note.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/real.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "shim/base/arena.h"
#include "shim/base/shared.h"

/* One object's dynamic symbol table. */
struct symbol_table {
	uintptr_t base;
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *hash;
	const ElfW(Half) * versions; /* NULL: none */
	uintptr_t definitions;       /* of versions; 0: none */
};

static bool read_symbol_table(const struct link_map *map, struct symbol_table *t)
{
	*t = (struct symbol_table){.base = map->l_addr};
	for (const ElfW(Dyn) *d = map->l_ld; d && d->d_tag != DT_NULL; d++) {
		/* glibc turns these into addresses in place; musl and the vDSO leave them relative */
		uintptr_t at = d->d_un.d_ptr < map->l_addr ? d->d_un.d_ptr + map->l_addr : d->d_un.d_ptr;
		switch (d->d_tag) {
		case DT_SYMTAB: t->symbols = (const void *)at; break;
		case DT_STRTAB: t->strings = (const void *)at; break;
		case DT_GNU_HASH: t->hash = (const void *)at; break;
		case DT_VERSYM: t->versions = (const void *)at; break;
		case DT_VERDEF: t->definitions = at; break;
		default: break;
		}
	}
	return t->symbols && t->strings && t->hash;
}

static uint32_t gnu_hash(const char *s)
{
	uint32_t h = 5381;
	for (; *s; s++)
		h = h * 33 + (unsigned char)*s;
	return h;
}

static bool is_definition(const ElfW(Sym) * s)
{
	unsigned type = s->st_info & 0xf;
	return s->st_shndx != SHN_UNDEF && s->st_value && (type == STT_FUNC || type == STT_GNU_IFUNC);
}

/* Returns the index of a version that this object defines; 0 if it does not. */
static unsigned find_version(const struct symbol_table *t, const char *version)
{
	for (uintptr_t at = t->versions ? t->definitions : 0; at;) {
		const ElfW(Verdef) *v = (const void *)at;
		const ElfW(Verdaux) *name = (const void *)(at + v->vd_aux);
		if (strcmp(t->strings + name->vda_name, version) == 0)
			return v->vd_ndx;
		at = v->vd_next ? at + v->vd_next : 0;
	}
	return 0;
}

/* Finds the definition of the version with this index. Without an index (0): the one in this table that an unversioned
 * reference binds to. That is the default version, or an old (hidden) version if the name has no other. */
static const ElfW(Sym) * find_in_table(const struct symbol_table *t, const char *name, uint32_t hash, unsigned version)
{
	uint32_t buckets = t->hash[0], first = t->hash[1], bloom_words = t->hash[2], shift = t->hash[3];
	const ElfW(Addr) *bloom = (const void *)&t->hash[4];
	const uint32_t *bucket = (const void *)&bloom[bloom_words];
	const uint32_t *chain = &bucket[buckets];
	enum { BITS = sizeof(ElfW(Addr)) * 8 };
	if (!buckets || !bloom_words)
		return NULL;
	ElfW(Addr) word = bloom[hash / BITS % bloom_words];
	if (!(word >> (hash % BITS) & word >> ((hash >> shift) % BITS) & 1))
		return NULL;
	const ElfW(Sym) *hidden = NULL;
	for (uint32_t i = bucket[hash % buckets]; i >= first; i++) {
		uint32_t h = chain[i - first];
		const ElfW(Sym) *s = &t->symbols[i];
		if ((h | 1) == (hash | 1) && is_definition(s) && strcmp(t->strings + s->st_name, name) == 0) {
			if (!version ? !t->versions || !(t->versions[i] & 0x8000)
			             : (t->versions[i] & 0x7fff) == version)
				return s;
			hidden = version ? NULL : s;
		}
		if (h & 1)
			break;
	}
	return hidden;
}

static bool find_in_object(const struct symbol_table *t, const char *name, uint32_t hash, unsigned version,
                           struct real_symbol *found)
{
	const ElfW(Sym) *symbol = find_in_table(t, name, hash, version);
	if (!symbol)
		return false;
	uintptr_t address = t->base + symbol->st_value;
	if ((symbol->st_info & 0xf) == STT_GNU_IFUNC)
		address = ((uintptr_t(*)(void))address)();
	*found = (struct real_symbol){(void *)address, t->base};
	return true;
}

/* The objects that the program was started with, in the order of loading. They are never unloaded, so later look-ups do
 * not need the loader's lock. (Another thread may hold that and wait for us, or keep it for ever at a fork.) Written by
 * real_start, before the program has a thread. */
static struct {
	struct symbol_table *at;
	size_t count;
	size_t after_us; /* index of the first one behind this library */
} started_with;

/* The loader's list of objects, as it shows it to debuggers: glibc's under the first name, musl's under the second.
 * Programs may define the loader's function for it, dl_iterate_phdr (ThreadSanitizer's do), and theirs can't be called
 * before they have started. */
extern struct r_debug _r_debug __attribute__((weak));
extern struct r_debug *const _dl_debug_addr __attribute__((weak));

static const struct link_map *first_object(void)
{
	const struct r_debug *list = &_r_debug ? &_r_debug : &_dl_debug_addr ? _dl_debug_addr : NULL;
	return list ? list->r_map : NULL;
}

static bool is_this_library(const struct link_map *map)
{
	return map->l_ld == _DYNAMIC;
}

void real_start(void)
{
	size_t count = 0;
	for (const struct link_map *map = first_object(); map; map = map->l_next)
		count++;
	started_with.at = arena_alloc(count * sizeof *started_with.at);
	for (const struct link_map *map = first_object(); map && started_with.at; map = map->l_next) {
		if (read_symbol_table(map, &started_with.at[started_with.count]))
			started_with.count++;
		if (is_this_library(map))
			started_with.after_us = started_with.count;
	}
}

/* Before real_start, when the program has one thread, and opens nothing. */
static struct real_symbol find_in_list(const char *name, uint32_t hash, bool after_us)
{
	struct real_symbol found = {0};
	struct symbol_table t;
	bool passed_us = false;
	for (const struct link_map *map = first_object(); map; map = map->l_next) {
		if ((passed_us || !after_us) && read_symbol_table(map, &t) && find_in_object(&t, name, hash, 0, &found))
			break;
		passed_us |= is_this_library(map);
	}
	return found;
}

static struct real_symbol find(const char *name, bool after_us)
{
	struct real_symbol found;
	uint32_t hash = gnu_hash(name);
	for (size_t i = after_us ? started_with.after_us : 0; i < started_with.count; i++)
		if (find_in_object(&started_with.at[i], name, hash, 0, &found))
			return found;
	if (!started_with.at)
		return find_in_list(name, hash, after_us);
	return (struct real_symbol){0};
}

struct real_symbol real_find(const char *name)
{
	return find(name, true);
}

struct real_symbol real_find_version(const char *name, const char *version)
{
	struct real_symbol found = {0};
	for (size_t i = started_with.after_us; i < started_with.count; i++) {
		unsigned index = find_version(&started_with.at[i], version);
		if (index && find_in_object(&started_with.at[i], name, gnu_hash(name), index, &found))
			break;
	}
	return found;
}

struct real_symbol real_find_anywhere(const char *name)
{
	return find(name, false);
}

bool real_program_defines(const char *name)
{
	extern HIDDEN const char __ehdr_start; /* the linker's: the first byte of this library */
	return find(name, false).object != (uintptr_t)&__ehdr_start;
}

bool real_malloc_is_libc(void)
{
	return real_find("malloc").object == real_find("__libc_start_main").object;
}

/* The stubs: look up, publish, go on. A symbol that no object defines could not be called without us either; calling it
 * here has the same effect as calling a null pointer. */
#define HOOK(symbol, type, params, args) \
	static type boot_##symbol params \
	{ \
		void *next = real_find(#symbol).address; \
		word_store_release((void **)&real_##symbol, next); \
		return real_##symbol args; \
	} \
	type(*real_##symbol) params = boot_##symbol;
uintptr_t real_function(void *const *real, const char *name)
{
	extern HIDDEN const char __ehdr_start, etext; /* the linker's: this library's first byte, its code's end */
	uintptr_t now = (uintptr_t)*real;
	bool is_stub = now - (uintptr_t)&__ehdr_start < (uintptr_t)&etext - (uintptr_t)&__ehdr_start;
	return is_stub ? (uintptr_t)real_find(name).address : now;
}

/* An older libc lacks some of these, and others are in a library that is loaded later (libaio). A program may find ours
 * when it looks whether they exist, and gets ENOSYS. The call is no jump: syscall has one argument more than there are
 * registers, and a jump would store it in the slot where it was found, which belongs to a caller that passed fewer. */
#define HOOK_WAITS_OWN(symbol, type, params, args, kind, view) \
	static type boot_##symbol params \
	{ \
		void *next = real_find(#symbol).address; \
		if (!next) { \
			errno = ENOSYS; \
			return (type)-1; \
		} \
		word_store_release((void **)&real_##symbol, next); \
		type r = real_##symbol args; \
		__asm__ volatile("" : "+r"(r)); \
		return r; \
	} \
	type(*real_##symbol) params = boot_##symbol;
#define HOOK_WAITS(symbol, type, params, args, kind, object, view, way, ...) \
	HOOK_WAITS_OWN(symbol, type, params, args, kind, view)
/* Of HOOK_NEW and HOOK_DELETE hooks/cxx.c has its own. */
#include "shim/hooks.def"
