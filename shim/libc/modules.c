/* modules.c - the list of loaded objects.
 *
 * Runs in: init, app's thread inside a hook; signal handler (modules_place_of, modules_cover); listener.
 * So: own memory, own lock; the loader's lock only in modules_refresh. Memory that may be unmapped meanwhile is read
 * through peek.h alone: libc unloads objects of its own (character sets, NSS) while others look at them.
 *
 * There are two lists. `all` holds every object that was ever seen, for names, and to recognise one that comes back.
 * `live` is a table of the loaded objects, for everything that is done often; its places are used again. So the work at
 * a dlclose does not grow with the number of objects that were loaded before.
 *
 * Shared: modules.all and .count, .live and .live_most, published with release stores, read with acquire; the arrays
 * are replaced by larger ones, never freed. A module is immutable once published, save `gone` (atomic) and the fields
 * for writers alone; the places of `live` are atomic. Writers hold modules.lock (rank MODULES); the loader's lock comes
 * before it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/peek.h"
#include "shim/base/arena.h"
#include "shim/base/shared.h"
#include "shim/libc/real.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/base/text.h"

enum {
	HEAD_BYTES = 4096,
	NOTE_BYTES = 1024, /* the most that is read of a segment of notes */
	PATH_BYTES = 4096,
	PHDRS_MOST = 256,
	FIRST_CAP = 64,
	ROOTS = 64,
	GRANULE_SHIFT = 21,
	GRANULES = 4096,
};

struct range {
	uintptr_t start, end;
};

static void tell_nobody(void) {}

static void (*tell_of_change)(void) = tell_nobody; /* immutable after init */

/* A place in one of the lists. */
typedef SHARED(struct module *) module_place;
typedef SHARED(module_place *) module_list_of;

static struct {
	struct lock lock; /* MODULES */
	module_list_of all;
	shared_size count;                    /* published after the entry */
	module_list_of live;                  /* NULL: a free place */
	shared_size live_most;                /* no place from here on was ever used */
	SHARED(unsigned long long) subs_seen; /* the loader's count of removals at the last renewal */
	shared_int closing;                   /* dlclose calls under way */
	shared_int again;                     /* how many loaded objects lie where others did before */
	/* libc's lock-free look-up, or NULL; immutable after the first renewal */
	int (*find_object)(void *, struct dl_find_object *);
	int (*iterate)(int (*visit)(struct dl_phdr_info *, size_t, void *), void *arg); /* libc's dl_iterate_phdr */
	/* under lock */
	size_t cap, live_cap;
	struct module *root[ROOTS]; /* all, by identity */
	struct range *used;         /* where objects are or were, in ascending order, never touching */
	size_t used_count, used_cap;
	uint64_t renewals;
} modules FORKED;

/* Roughly where the objects lie that modules.again counts: bits of a hash of the address. Never cleared. */
static shared_u64 granules[GRANULES / 64];

/* Buffers for what is read of an object before it is known. Under lock. */
static struct {
	ElfW(Ehdr) header;
	ElfW(Phdr) phdr[PHDRS_MOST];
	struct link_map map;
	struct module_text text[PHDRS_MOST];
	char path[PATH_BYTES];
	uint64_t bytes[HEAD_BYTES / sizeof(uint64_t)];
} seen LARGE;

static bool is_live(const struct module *m)
{
	return !shared_load_relaxed(&m->gone);
}

static bool holds_text(const struct module *m, uintptr_t pc)
{
	for (unsigned i = 0; i < m->text_count; i++)
		if (pc >= m->text[i].start && pc < m->text[i].end)
			return true;
	return false;
}

struct module_list snapshot_modules(void)
{
	size_t count = shared_load_acquire(&modules.count);
	module_place *all = shared_load_acquire(&modules.all);
	return (struct module_list){count, (const struct module *const *)all};
}

/* The loaded object at place i of the table, or NULL. */
static struct module *live_at(module_place *live, size_t i)
{
	return shared_load_acquire(&live[i]);
}

static struct module *live_locked(size_t i)
{
	return shared_own(&shared_own(&modules.live)[i]);
}

static struct module *find_known(uintptr_t pc)
{
	size_t most = shared_load_acquire(&modules.live_most);
	module_place *live = shared_load_acquire(&modules.live);
	for (size_t i = 0; i < most; i++) {
		struct module *m = live_at(live, i);
		if (m && pc >= m->start && pc < m->end && is_live(m) && holds_text(m, pc))
			return m;
	}
	return NULL;
}

bool modules_hold_code(uintptr_t pc)
{
	return find_known(pc) != NULL;
}

/* ---- what an object says of itself ---- */

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

/* ---- the lists ---- */

/* Make room in *at for one more than `count`; a longer array replaces it if need be.
 * Returns false if there is no memory. */
static bool make_room_locked(module_list_of *at, size_t *cap, size_t count)
{
	if (count < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : FIRST_CAP;
	module_place *longer = arena_alloc(more * sizeof *longer);
	if (!longer)
		return false;
	module_place *shorter = shared_own(at);
	if (shorter)
		memcpy(longer, shorter, count * sizeof *longer);
	shared_store_release(at, longer);
	*cap = more;
	return true;
}

static shared_u64 *granule_word(uintptr_t at, uint64_t *bit)
{
	unsigned n = (unsigned)((at >> GRANULE_SHIFT) * 0x9e3779b97f4a7c15u >> 52) % GRANULES;
	*bit = (uint64_t)1 << n % 64;
	return &granules[n / 64];
}

static void mark_granules_locked(const struct module *m)
{
	for (uintptr_t at = m->start >> GRANULE_SHIFT << GRANULE_SHIFT; at < m->end;
	     at += (uintptr_t)1 << GRANULE_SHIFT) {
		uint64_t bit;
		shared_u64 *word = granule_word(at, &bit);
		shared_or_relaxed(word, bit);
	}
}

/* Enter a loaded object.
 * Returns false if there is no memory. */
static bool enter_live_locked(struct module *m)
{
	size_t i = 0;
	while (i < shared_own(&modules.live_most) && live_locked(i))
		i++;
	if (i == shared_own(&modules.live_most) && !make_room_locked(&modules.live, &modules.live_cap, i))
		return false;
	shared_store_relaxed(&m->gone, false);
	m->seen_in = modules.renewals;
	if (m->number) {
		mark_granules_locked(m);
		shared_add_release(&modules.again, 1);
	}
	shared_store_release(&shared_own(&modules.live)[i], m);
	if (i == shared_own(&modules.live_most))
		shared_store_release(&modules.live_most, i + 1);
	return true;
}

static void leave_live_locked(size_t i)
{
	struct module *m = live_locked(i);
	shared_store_relaxed(&m->gone, true);
	shared_store_relaxed(&shared_own(&modules.live)[i], NULL);
	if (m->number)
		shared_sub_relaxed(&modules.again, 1);
}

/* Whatever lies where m does now is no longer loaded. */
static void leave_to_locked(const struct module *m)
{
	for (size_t i = 0; i < shared_own(&modules.live_most); i++)
		if (live_locked(i) && live_locked(i) != m && live_locked(i)->start < m->end &&
		    m->start < live_locked(i)->end)
			leave_live_locked(i);
}

/* The first range that ends at or behind `at`. */
static size_t first_used(uintptr_t at)
{
	size_t low = 0, high = modules.used_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (modules.used[middle].end < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Join the ranges from `from` up to `to` into one. */
static void join_used_locked(size_t from, size_t to, struct range r)
{
	size_t rest = modules.used_count - to;
	memmove(&modules.used[from + 1], &modules.used[to], rest * sizeof r);
	modules.used[from] = r;
	modules.used_count = from + 1 + rest;
}

/* Was an object here before? Note that there is one now. */
static bool use_range_locked(struct range r)
{
	bool again = false;
	if (modules.used_count == modules.used_cap) {
		size_t cap = modules.used_cap ? modules.used_cap * 2 : FIRST_CAP;
		struct range *longer = arena_alloc(cap * sizeof *longer);
		if (!longer)
			return true; /* it may have been */
		if (modules.used_count)
			memcpy(longer, modules.used, modules.used_count * sizeof *longer);
		modules.used = longer;
		modules.used_cap = cap;
	}
	size_t from = first_used(r.start), to = from;
	for (; to < modules.used_count && modules.used[to].start <= r.end; to++) {
		const struct range *u = &modules.used[to];
		again |= u->start < r.end && r.start < u->end;
		r.start = u->start < r.start ? u->start : r.start;
		r.end = u->end > r.end ? u->end : r.end;
	}
	join_used_locked(from, to, r);
	return again;
}

/* ---- objects that come, and come back ---- */

static uint32_t identity_of(const struct module *m, const char *path)
{
	uint64_t h =
		text_hash(path, strlen(path)) ^ text_hash((const void *)m->build_id, sizeof m->build_id) ^ m->head_hash;
	h = (h ^ m->bias) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32);
}

static bool is_same(const struct module *m, const struct module *like, const char *path)
{
	return m->identity == like->identity && m->bias == like->bias && m->start == like->start &&
	       m->end == like->end && m->build_id_len == like->build_id_len &&
	       memcmp(m->build_id, like->build_id, sizeof m->build_id) == 0 && m->head_hash == like->head_hash &&
	       strcmp(m->path, path) == 0;
}

/* Returns the link that leads to such a module, or an empty one. */
static struct module **find_same_locked(const struct module *like, const char *path)
{
	struct module **at = &modules.root[like->identity % ROOTS];
	for (uint32_t rest = like->identity / ROOTS; *at && !is_same(*at, like, path); rest >>= 2)
		at = &(*at)->child[rest % 4];
	return at;
}

static struct module *make_locked(const struct module *like, const char *path)
{
	size_t len = strlen(path) + 1, text_bytes = like->text_count * sizeof *like->text;
	struct module *m = make_room_locked(&modules.all, &modules.cap, shared_own(&modules.count))
	                           ? arena_alloc(sizeof *m + text_bytes + len)
	                           : NULL;
	if (!m)
		return NULL;
	*m = *like;
	m->text = memcpy(m + 1, like->text, text_bytes);
	m->path = memcpy((char *)m->text + text_bytes, path, len);
	shared_set_own(&m->gone, true);
	m->number = use_range_locked((struct range){m->start, m->end}) ? (uint32_t)shared_own(&modules.count) + 1 : 0;
	shared_set_own(&shared_own(&modules.all)[shared_own(&modules.count)], m);
	shared_store_release(&modules.count, shared_own(&modules.count) + 1);
	return m;
}

/* A library that is loaded and unloaded in turns gets its old entry back.
 * Returns true if there is one more loaded object. */
static bool add_locked(uintptr_t bias, const char *path, const ElfW(Phdr) * phdr, unsigned count, bool stable)
{
	struct module like = {.bias = bias};
	read_segments(&like, phdr, count, stable);
	if (!like.build_id_len)
		read_head(&like, phdr, count, stable);
	if (!like.text_count)
		return false;
	like.identity = identity_of(&like, path);
	struct module **at = find_same_locked(&like, path), *m = *at;
	if (m && is_live(m))
		return false;
	if (!m)
		m = *at = make_locked(&like, path);
	if (!m)
		return false;
	leave_to_locked(m);
	return enter_live_locked(m);
}

/* A list that another thread left in the middle of a change can be read. But the count may include a module that was
 * not entered, or lack one that was. */
static void count_again_locked(void)
{
	int again = 0;
	for (size_t i = 0; i < shared_own(&modules.live_most); i++)
		again += live_locked(i) && live_locked(i)->number;
	shared_store_release(&modules.again, again);
}

static bool take_lock(void)
{
	if (!lock_take(&modules.lock, LOCK_MODULES))
		return false;
	if (lock_is_inherited(&modules.lock))
		count_again_locked();
	return true;
}

/* ---- renewals ---- */

struct renewal {
	uint64_t number;
	bool changed;
	bool failed; /* the lock could not be taken: no object is gone for certain */
};

/* The loader's lock is held here. A thread may hold that one and wait for ours (a constructor that allocates). So ours
 * is taken here, and never around the iteration. */
static int renew_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct renewal *r = arg;
	struct module *m = NULL;
	(void)size;
	if (!take_lock()) {
		r->failed = true;
		return 0;
	}
	for (size_t i = 0; i < shared_own(&modules.live_most) && !m; i++) {
		struct module *l = live_locked(i);
		m = l && is_live(l) && l->bias == info->dlpi_addr && strcmp(l->path, info->dlpi_name) == 0 ? l : NULL;
	}
	if (!m)
		r->changed |= add_locked(info->dlpi_addr, info->dlpi_name, info->dlpi_phdr, info->dlpi_phnum, true);
	else if (m->seen_in < r->number)
		m->seen_in = r->number;
	lock_release(&modules.lock);
	return 0;
}

/* Reads the loader's count of removals, from the first object it tells of. */
static int read_subs(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(unsigned long long *)arg = info->dlpi_subs;
	return 1;
}

static void begin_renewal(struct renewal *r)
{
	r->failed = !take_lock();
	if (r->failed)
		return;
	r->number = ++modules.renewals;
	lock_release(&modules.lock);
}

/* Objects that the renewal did not see are gone. (Those that came since have a later number.) */
static void leave_unseen(struct renewal *r)
{
	if (r->failed || !take_lock()) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < shared_own(&modules.live_most); i++)
		if (live_locked(i) && live_locked(i)->seen_in < r->number) {
			leave_live_locked(i);
			r->changed = true;
		}
	lock_release(&modules.lock);
}

/* These are libc's own: a program may define dl_iterate_phdr, and expect to have started before it is called. */
static void find_loaders_functions(void)
{
	modules.find_object = (int (*)(void *, struct dl_find_object *))real_find("_dl_find_object").address;
	modules.iterate =
		(int (*)(int (*)(struct dl_phdr_info *, size_t, void *), void *))real_find("dl_iterate_phdr").address;
}

void modules_on_change(void (*changed)(void))
{
	tell_of_change = changed;
}

void modules_refresh(void)
{
	struct renewal r = {0};
	unsigned long long subs = 0;
	begin_renewal(&r);
	if (!modules.iterate)
		find_loaders_functions();
	modules.iterate(read_subs, &subs);
	bool removed = shared_load_relaxed(&modules.subs_seen) != subs;
	modules.iterate(renew_object, &r);
	if (removed)
		leave_unseen(&r);
	if (!r.failed) /* else the next renewal has to find the removals */
		shared_store_relaxed(&modules.subs_seen, subs);
	if (r.changed || r.failed)
		tell_of_change();
}

/* ---- places ---- */

/* Objects that are loaded where others were before have numbers. A place keeps two of them. Mostly there are none. */
uint64_t modules_place_of(const uintptr_t *pc, size_t depth)
{
	uint64_t place = 0, bit;
	if (__builtin_expect(shared_load_acquire(&modules.again) <= 0, 1))
		return 0;
	for (size_t i = 0; i < depth && place >> 32 == 0; i++) {
		const shared_u64 *word = granule_word(pc[i], &bit);
		const struct module *m = shared_load_relaxed(word) & bit ? find_known(pc[i]) : NULL;
		if (m && m->number && !place)
			place = m->number;
		else if (m && m->number && m->number != place)
			place |= (uint64_t)m->number << 32;
	}
	return place;
}

/* Is this object on the list? Then an address in none of its code segments is no code. */
static bool is_known_locked(uintptr_t bias, const char *path)
{
	for (size_t i = 0; i < shared_own(&modules.live_most); i++) {
		const struct module *m = live_locked(i);
		if (m && is_live(m) && m->bias == bias && strcmp(m->path, path) == 0)
			return true;
	}
	return false;
}

/* Returns false if the object, or the loader's record of it, was unmapped meanwhile. */
static bool read_object_locked(const struct dl_find_object *o)
{
	const ElfW(Ehdr) *e = &seen.header;
	uintptr_t at = (uintptr_t)o->dlfo_map_start;
	return peek(at, &seen.header, sizeof seen.header) && memcmp(e->e_ident, ELFMAG, SELFMAG) == 0 &&
	       e->e_phentsize == sizeof(ElfW(Phdr)) && e->e_phnum <= PHDRS_MOST &&
	       peek(at + e->e_phoff, seen.phdr, e->e_phnum * sizeof(ElfW(Phdr))) &&
	       peek((uintptr_t)o->dlfo_link_map, &seen.map, offsetof(struct link_map, l_ld)) &&
	       peek_text((uintptr_t)seen.map.l_name, seen.path, sizeof seen.path);
}

/* Adds the object that libc's lock-free table has at an address, if the list lacks it: it was loaded after the last
 * renewal. */
static struct module *find_new(uintptr_t pc, const struct dl_find_object *o)
{
	bool added = false;
	if (!take_lock())
		return NULL;
	if (!find_known(pc) && read_object_locked(o) && !is_known_locked(seen.map.l_addr, seen.path))
		added = add_locked(seen.map.l_addr, seen.path, seen.phdr, seen.header.e_phnum, false);
	lock_release(&modules.lock);
	struct module *m = find_known(pc);
	if (added && m &&
	    m->number) /* another object had its addresses and rules: libc unloads its own without our knowing */
		tell_of_change();
	return m;
}

static bool is_of(const struct module *m, const struct dl_find_object *o)
{
	uintptr_t bias;
	return m->unwind_table == (uintptr_t)o->dlfo_eh_frame &&
	       peek((uintptr_t)o->dlfo_link_map + offsetof(struct link_map, l_addr), &bias, sizeof bias) &&
	       m->bias == bias;
}

static void leave(struct module *m)
{
	shared_store_relaxed(&m->gone, true); /* even if the lock can't be taken */
	if (!take_lock())
		return;
	for (size_t i = 0; i < shared_own(&modules.live_most); i++)
		if (live_locked(i) == m)
			leave_live_locked(i);
	lock_release(&modules.lock);
}

/* The list is only as new as the last dlclose that we saw; libc unloads objects of its own (gconv, NSS) behind our
 * back. So where libc can be asked without a lock, its answer decides whether an entry still holds. */
const struct module *modules_find(uintptr_t pc)
{
	struct module *m = find_known(pc);
	struct dl_find_object o;
	if (!modules.find_object || confined())
		return m;
	bool is_there = modules.find_object((void *)pc, &o) == 0 && o.dlfo_link_map;
	if (m && is_there && is_of(m, &o))
		return m;
	if (m)
		leave(m);
	return is_there && !modules_closing() ? find_new(pc, &o) : NULL;
}

/* _dl_find_object is made for unwinders in signal handlers: no lock, no allocation. */
bool modules_cover(uintptr_t pc)
{
	struct dl_find_object o;
	return modules.find_object ? modules.find_object((void *)pc, &o) == 0 : find_known(pc) != NULL;
}

bool modules_find_lazily(void)
{
	return modules.find_object != NULL;
}

void modules_closing_begin(void)
{
	self.closing++;
	shared_add_seq_cst(&modules.closing, 1);
}

void modules_closing_end(void)
{
	shared_sub_seq_cst(&modules.closing, 1);
	self.closing--;
}

bool modules_closing(void)
{
	return shared_load_seq_cst(&modules.closing) > 0;
}

/* Other threads that were closing an object are not in the child. The thread that forked may be closing one: a
 * destructor may fork. */
FORKED_CODE void modules_fork_child(void)
{
	if (shared_own(&modules.closing) != self.closing)
		shared_set_own(&modules.closing, self.closing);
}
