/* modules.c - the list of loaded objects.
 *
 * Runs in: init, app's thread inside a hook; snapshot_modules in the listener too.
 * So: own memory, own lock; the loader's lock only in modules_refresh.
 * Shared: modules.list and .count, published with release stores, read with acquire; the array is
 * replaced by a larger one, never freed. A module is immutable once published, save `gone`
 * (atomic, relaxed: it only stops look-ups of what nobody executes any more). Writers hold
 * modules.lock (rank MODULES); the loader's lock comes before it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "shim/layout.h"
#include "shim/real.h"
#include "shim/sampler.h"
#include "shim/sync.h"
#include "shim/text.h"
#include "shim/unwind.h"

enum { HEAD_BYTES = 4096 };

static struct {
	struct lock lock;
	struct module **list; /* atomic */
	size_t count;         /* atomic; published after the entry */
	size_t cap;           /* under lock */
	unsigned long long subs_seen; /* atomic: the loader's count of removals at the last renewal */
	int closing;          /* atomic: dlclose calls under way */
	unsigned place;       /* atomic: see modules_place */
	/* libc's lock-free look-up, or NULL; immutable after the first renewal */
	int (*find_object)(void *, struct dl_find_object *);
} modules FORKED;

static bool is_live(const struct module *m)
{
	return !__atomic_load_n(&m->gone, __ATOMIC_RELAXED);
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
	size_t count = __atomic_load_n(&modules.count, __ATOMIC_ACQUIRE);
	struct module **list = __atomic_load_n(&modules.list, __ATOMIC_ACQUIRE);
	return (struct module_list){count, (const struct module *const *)list};
}

/* The newest first: an address range may have been used before by an object that is gone. */
static struct module *find_known(uintptr_t pc)
{
	struct module_list l = snapshot_modules();
	for (size_t i = l.count; i-- > 0;)
		if (is_live(l.at[i]) && holds_text(l.at[i], pc))
			return (struct module *)l.at[i];
	return NULL;
}

static void read_build_id(struct module *m, const ElfW(Phdr) * p)
{
	uintptr_t at = m->bias + p->p_vaddr, end = at + p->p_memsz;
	while (at + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *n = (const void *)at;
		const char *name = (const char *)(n + 1);
		const uint8_t *desc = (const uint8_t *)name + ((n->n_namesz + 3u) & ~3u);
		if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
			m->build_id_len = n->n_descsz < sizeof m->build_id ? n->n_descsz : sizeof m->build_id;
			memcpy(m->build_id, desc, m->build_id_len);
			return;
		}
		at = (uintptr_t)desc + ((n->n_descsz + 3u) & ~3u);
	}
}

static void read_segments(struct module *m, const ElfW(Phdr) * phdr, unsigned count)
{
	m->start = UINTPTR_MAX;
	for (unsigned i = 0; i < count; i++) {
		const ElfW(Phdr) *p = &phdr[i];
		uintptr_t start = m->bias + p->p_vaddr, end = start + p->p_memsz;
		switch (p->p_type) {
		case PT_LOAD:
			m->start = start < m->start ? start : m->start;
			m->end = end > m->end ? end : m->end;
			if ((p->p_flags & PF_X) && m->text_count < sizeof m->text / sizeof *m->text) {
				m->text[m->text_count].start = start;
				m->text[m->text_count].end = end;
				m->text[m->text_count++].file_offset = p->p_offset;
			}
			break;
		case PT_NOTE:
			if (!m->build_id_len)
				read_build_id(m, p);
			break;
		case PT_GNU_EH_FRAME: m->unwind_table = start; break;
		default: break;
		}
	}
}

/* What tells a file without a build id from the one that replaces it: its headers and the tables behind them. */
static void read_head(struct module *m, const ElfW(Phdr) * phdr, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const ElfW(Phdr) *p = &phdr[i];
		if (p->p_type != PT_LOAD || p->p_offset || (p->p_flags & (PF_R | PF_W)) != PF_R)
			continue;
		m->head_bytes = p->p_filesz < HEAD_BYTES ? (unsigned)p->p_filesz : HEAD_BYTES;
		m->head_hash = text_hash((const void *)(m->bias + p->p_vaddr), m->head_bytes);
		return;
	}
}

static bool make_room_locked(void)
{
	if (modules.count < modules.cap)
		return true;
	size_t cap = modules.cap ? modules.cap * 2 : 64;
	struct module **list = arena_alloc(cap * sizeof *list);
	if (!list)
		return false;
	if (modules.count)
		memcpy(list, modules.list, modules.count * sizeof *list);
	__atomic_store_n(&modules.list, list, __ATOMIC_RELEASE);
	modules.cap = cap;
	return true;
}

unsigned modules_place(void)
{
	return __atomic_load_n(&modules.place, __ATOMIC_RELAXED);
}

/* Module i is loaded: does it lie where another one was? */
static void note_place_locked(size_t i)
{
	const struct module *m = modules.list[i];
	for (size_t k = 0; k < modules.count; k++)
		if (k != i && modules.list[k]->start < m->end && m->start < modules.list[k]->end)
			__atomic_store_n(&modules.place, (unsigned)i + 1, __ATOMIC_RELAXED);
}

/* A library that is loaded and unloaded in turns gets its old entry back. */
static bool revive_locked(const struct module *like, const char *path)
{
	for (size_t i = 0; i < modules.count; i++) {
		struct module *m = modules.list[i];
		if (is_live(m) || m->bias != like->bias || m->start != like->start || m->end != like->end ||
		    m->build_id_len != like->build_id_len || memcmp(m->build_id, like->build_id, sizeof m->build_id) != 0 ||
		    m->head_hash != like->head_hash || strcmp(m->path, path) != 0)
			continue;
		__atomic_store_n(&m->gone, false, __ATOMIC_RELAXED);
		note_place_locked(i);
		return true;
	}
	return false;
}

static void add_locked(uintptr_t bias, const char *path, const ElfW(Phdr) * phdr, unsigned count)
{
	struct module made = {.bias = bias};
	read_segments(&made, phdr, count);
	if (!made.build_id_len)
		read_head(&made, phdr, count);
	if (!made.text_count || revive_locked(&made, path))
		return;
	size_t len = strlen(path) + 1;
	struct module *m = make_room_locked() ? arena_alloc(sizeof *m + len) : NULL;
	if (!m)
		return;
	*m = made;
	m->path = memcpy(m + 1, path, len);
	modules.list[modules.count] = m;
	__atomic_store_n(&modules.count, modules.count + 1, __ATOMIC_RELEASE);
	note_place_locked(modules.count - 1);
}

struct renewal {
	uint8_t *seen; /* by index of the list as it was; NULL: nothing was removed, so nothing is gone */
	size_t known;
	bool changed;
};

/* Called with the loader's lock held: a thread may hold that one and wait for ours (a constructor that
 * allocates), so ours is taken here and never around the iteration. */
static int renew_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct renewal *r = arg;
	(void)size;
	if (!lock_take(&modules.lock, LOCK_MODULES)) {
		r->seen = NULL; /* nothing is gone for sure */
		return 0;
	}
	size_t i = 0;
	for (; i < modules.count; i++) {
		const struct module *m = modules.list[i];
		if (is_live(m) && m->bias == info->dlpi_addr && strcmp(m->path, info->dlpi_name) == 0)
			break;
	}
	if (i == modules.count) {
		add_locked(info->dlpi_addr, info->dlpi_name, info->dlpi_phdr, info->dlpi_phnum);
		r->changed = true;
	} else if (r->seen && i < r->known) {
		r->seen[i] = 1;
	}
	lock_release(&modules.lock);
	return 0;
}

/* The loader's count of removals, from the first object it tells of. */
static int read_subs(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(unsigned long long *)arg = info->dlpi_subs;
	return 1;
}

void modules_refresh(void)
{
	struct region scratch = {0};
	struct module_list before = snapshot_modules();
	struct renewal r = {.known = before.count};
	unsigned long long subs = 0;
	dl_iterate_phdr(read_subs, &subs);
	if (!r.known)
		modules.find_object = (int (*)(void *, struct dl_find_object *))real_find_anywhere("_dl_find_object").address;
	bool removed = __atomic_load_n(&modules.subs_seen, __ATOMIC_RELAXED) != subs;
	if (removed)
		r.seen = region_alloc(&scratch, r.known + 1);
	if (!removed || r.seen) /* else the next renewal has to find out */
		__atomic_store_n(&modules.subs_seen, subs, __ATOMIC_RELAXED);
	dl_iterate_phdr(renew_object, &r);
	for (size_t i = 0; r.seen && i < r.known; i++)
		if (!r.seen[i] && is_live(before.at[i])) {
			__atomic_store_n((bool *)&before.at[i]->gone, true, __ATOMIC_RELAXED);
			r.changed = true;
		}
	region_release(&scratch);
	if (r.changed)
		unwind_forget();
}

/* Is this object on the list? Then an address that is in none of its segments of code is no code. */
static bool is_known_locked(const struct link_map *map)
{
	for (size_t i = 0; i < modules.count; i++)
		if (is_live(modules.list[i]) && modules.list[i]->bias == map->l_addr &&
		    strcmp(modules.list[i]->path, map->l_name) == 0)
			return true;
	return false;
}

/* The object that libc's lock-free table has at an address, if it is one that the list lacks: loaded after the last
 * renewal. It can't go away while one of its functions is on this thread's stack. */
static struct module *find_new(uintptr_t pc, const struct dl_find_object *o)
{
	const ElfW(Ehdr) *e = o->dlfo_map_start;
	if (memcmp(e->e_ident, ELFMAG, SELFMAG) != 0 || e->e_phentsize != sizeof(ElfW(Phdr)))
		return NULL;
	if (!lock_take(&modules.lock, LOCK_MODULES))
		return NULL;
	if (!find_known(pc) && !is_known_locked(o->dlfo_link_map))
		add_locked(o->dlfo_link_map->l_addr, o->dlfo_link_map->l_name,
		           (const void *)((const char *)e + e->e_phoff), e->e_phnum);
	lock_release(&modules.lock);
	return find_known(pc);
}

/* The list is only as new as the last dlclose that we saw; libc unloads objects of its own (gconv, NSS) behind our
 * back. So where it can be asked without a lock, its answer decides whether an entry still holds. */
const struct module *modules_find(uintptr_t pc)
{
	struct module *m = find_known(pc);
	struct dl_find_object o;
	if (!modules.find_object)
		return m;
	if (modules.find_object((void *)pc, &o) != 0 || !o.dlfo_link_map)
		return NULL;
	if (m && m->bias == o.dlfo_link_map->l_addr && m->unwind_table == (uintptr_t)o.dlfo_eh_frame)
		return m;
	if (m)
		__atomic_store_n(&m->gone, true, __ATOMIC_RELAXED);
	return modules_closing() ? NULL : find_new(pc, &o);
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
	sampler_thread.closing++;
	__atomic_add_fetch(&modules.closing, 1, __ATOMIC_SEQ_CST);
}

void modules_closing_end(void)
{
	__atomic_sub_fetch(&modules.closing, 1, __ATOMIC_SEQ_CST);
	sampler_thread.closing--;
}

bool modules_closing(void)
{
	return __atomic_load_n(&modules.closing, __ATOMIC_SEQ_CST) > 0;
}

/* Other threads that were closing an object are not in the child. The one that forked may be: a destructor forks. */
FORKED_CODE void modules_fork_child(void)
{
	if (modules.closing != sampler_thread.closing)
		modules.closing = sampler_thread.closing;
}
