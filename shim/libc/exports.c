/* exports.c - which of our symbols a program sees: the versions of the hooks, and those that it would not have without
 * us.
 *
 * Runs in: app's thread (the stubs and the old versions, which only go on), init.
 *
 * A preloaded library's symbols come before all others. A symbol that only this library has would be new to the
 * program. For example, a C program would have operators new and delete; C++ libraries that it opens later, each with
 * operators of its own, would all be bound to ours instead. Such a symbol is removed from our table before the
 * program's first constructor; later libraries are bound as without us. (The libraries that it was started with
 * are bound already, to symbols that exist: they are behind ours, and are never unloaded.) The table is in read-only
 * memory. It is made writable for a moment, without any code in the same pages.
 *
 * Formats: ELF gABI, DT_GNU_HASH and symbol versions as in the "ELF Handling For Symbol Versioning" note.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/exports.h"

#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "shim/arch/arch.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/libc/real.h"

/* ---- versions ---- */

#if ARCH_HAS_OLD_VERSIONS
#define LABEL(symbol, version) "versioned_" #symbol "_" #version
#define EXPORTED_AS(symbol, version) ".symver " LABEL(symbol, version) "," #symbol "@" #version "\n"

/* The stub jumps: the hook finds everything as its caller left it. */
/* Not formatted: it would move the text of the directives. */
/* clang-format off */
#define VERSION(symbol, version) \
	__asm__(".text\n" \
	        ".globl " LABEL(symbol, \
	                        version) "\n" \
	                                 ".type " LABEL(symbol, version) ",@function\n" LABEL( \
						 symbol, \
						 version) ":\n" \
	                                                  ".cfi_startproc\n" ARCH_JUMP( \
								  symbol) ".cfi_endproc\n" \
	                                                                  ".size " LABEL(symbol, version) ",.-" LABEL( \
										  symbol, \
										  version) "\n" EXPORTED_AS(symbol, \
	                                                                                                    version));
/* clang-format on */
#define VERSIONS(symbol, old, now) \
	VERSION(symbol, old) \
	VERSION(symbol, now)

#define VERSION_OWN(symbol, version, type, params, args) \
	static type boot_##symbol params; \
	static type(*next_##symbol) params = boot_##symbol; \
	static type boot_##symbol params \
	{ \
		void *next = real_find_version(#symbol, #version).address; \
		word_store_release((void **)&next_##symbol, next); \
		return next_##symbol args; \
	} \
	EXPORT type versioned_##symbol params __asm__(LABEL(symbol, version)); \
	EXPORT type versioned_##symbol params \
	{ \
		return next_##symbol args; \
	} \
	__asm__(EXPORTED_AS(symbol, version));
#else
#define VERSION(symbol, version)
#define VERSIONS(symbol, old, now)
#define VERSION_OWN(symbol, version, type, params, args)
#endif
#define VERSION_NODE(name)
#include "shim/libc/versions.def"

/* ---- the table of our symbols ---- */

extern HIDDEN const char __ehdr_start; /* the linker's: this library's first byte */

struct table {
	ElfW(Sym) * symbols;
	ElfW(Half) * versions;
	const char *strings;
	uint32_t first, end;  /* the defined ones */
	unsigned first_shown; /* index of the first version of now; 0: there are no versions */
};

/* The loader may have turned it into an address already. */
static uintptr_t address_of(const ElfW(Dyn) * d)
{
	uintptr_t base = (uintptr_t)&__ehdr_start;
	return d->d_un.d_ptr < base ? base + d->d_un.d_ptr : d->d_un.d_ptr;
}

static uintptr_t find_entry(ElfW(Sxword) tag)
{
	for (const ElfW(Dyn) *d = _DYNAMIC; d->d_tag != DT_NULL; d++)
		if (d->d_tag == tag)
			return address_of(d);
	return 0;
}

/* The symbols of a hash table are the last ones; the chain of the last bucket ends with an odd value. */
static void count_symbols(struct table *t, const uint32_t *hash)
{
	uint32_t buckets = hash[0], bloom_words = hash[2];
	const uint32_t *bucket = hash + 4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof *hash),
		       *chain = bucket + buckets;
	uint32_t last = 0;
	for (uint32_t i = 0; i < buckets; i++)
		if (bucket[i] > last)
			last = bucket[i];
	t->first = t->end = hash[1];
	if (last < t->first)
		return;
	while (!(chain[last - t->first] & 1))
		last++;
	t->end = last + 1;
}

static unsigned find_first_shown(const struct table *t, uintptr_t at)
{
	while (at) {
		const ElfW(Verdef) *v = (const void *)at;
		const ElfW(Verdaux) *name = (const void *)(at + v->vd_aux);
		if (strcmp(t->strings + name->vda_name, VERSION_FIRST_SHOWN) == 0)
			return v->vd_ndx;
		at = v->vd_next ? at + v->vd_next : 0;
	}
	return 0;
}

static bool read_table(struct table *t)
{
	const uint32_t *hash = (const void *)find_entry(DT_GNU_HASH);
	t->symbols = (void *)find_entry(DT_SYMTAB);
	t->strings = (const void *)find_entry(DT_STRTAB);
	t->versions = (void *)find_entry(DT_VERSYM);
	if (!hash || !t->symbols || !t->strings || !t->versions)
		return false;
	count_symbols(t, hash);
	t->first_shown = find_first_shown(t, find_entry(DT_VERDEF));
	return true;
}

static bool set_protection(const struct table *t, int protection)
{
	enum { PAGE = 4096 };
	uintptr_t a = (uintptr_t)t->symbols, b = (uintptr_t)t->versions;
	uintptr_t start = (a < b ? a : b) & -(uintptr_t)PAGE;
	uintptr_t end = a < b ? (uintptr_t)(t->versions + t->end) : (uintptr_t)(t->symbols + t->end);
	end = (end + PAGE - 1) & -(uintptr_t)PAGE;
	return os_call(SYS_mprotect, start, end - start, protection) == 0;
}

/* ---- what a program sees ---- */

/* Not every libc that we serve has these symbols; every one has the others. */
static bool may_be_missing(const char *name)
{
	static const char *const names[] = {"cfree", "epoll_pwait2", "free_aligned_sized", "free_sized",
	                                    "io_getevents"};
	if (name[0] == '_')
		return name[1] == 'Z';
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (name[0] == names[i][0] && strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void fit_symbol(const struct table *t, uint32_t i)
{
	enum { HIDDEN_VERSION = 0x8000 };
	ElfW(Sym) *s = &t->symbols[i];
	const char *name = t->strings + s->st_name;
	unsigned version = t->versions[i] & ~HIDDEN_VERSION;
	if (may_be_missing(name) && !real_find(name).address)
		s->st_value = 0;
	else if (t->first_shown && version >= t->first_shown)
		t->versions[i] &= (ElfW(Half)) ~HIDDEN_VERSION;
}

void exports_fit(void)
{
	struct table t;
	if (!read_table(&t) || !set_protection(&t, PROT_READ | PROT_WRITE))
		return;
	for (uint32_t i = t.first; i < t.end; i++)
		fit_symbol(&t, i);
	set_protection(&t, PROT_READ);
}

void exports_withdraw(void)
{
	struct table t;
	if (!read_table(&t) || !set_protection(&t, PROT_READ | PROT_WRITE))
		return;
	for (uint32_t i = t.first; i < t.end; i++)
		t.symbols[i].st_value = 0;
	set_protection(&t, PROT_READ);
}
