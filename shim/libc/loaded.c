/* loaded.c - the list of all objects that were ever loaded, and the table of those that are.
 *
 * Runs in: as loaded.h says. So: own memory, own lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/loaded.h"

#include <string.h>

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/text.h"
#include "shim/libc/modules.h"

enum {
	FIRST_CAP = 64,
	GRANULE_SHIFT = 21,
	GRANULES = 4096,
};

struct loaded loaded FORKED;

/* Roughly where the objects lie that loaded.again counts: bits of a hash of the address. Never cleared. */
static shared_u64 granules[GRANULES / 64];

bool loaded_is_live(const struct module *m)
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
	size_t count = shared_load_acquire(&loaded.count);
	loaded_place *all = shared_load_acquire(&loaded.all);
	return (struct module_list){count, (const struct module *const *)all};
}

/* The loaded object at place i of the table, or NULL. */
static struct module *live_at(loaded_place *live, size_t i)
{
	return shared_load_acquire(&live[i]);
}

struct module *loaded_at_locked(size_t i)
{
	return shared_own(&shared_own(&loaded.live)[i]);
}

struct module *loaded_find(uintptr_t pc)
{
	size_t most = shared_load_acquire(&loaded.live_most);
	loaded_place *live = shared_load_acquire(&loaded.live);
	for (size_t i = 0; i < most; i++) {
		struct module *m = live_at(live, i);
		if (m && pc >= m->start && pc < m->end && loaded_is_live(m) && holds_text(m, pc))
			return m;
	}
	return NULL;
}

/* Make room in *at for one more than `count`; a longer array replaces it if need be.
 * Returns false if there is no memory. */
static bool make_room_locked(loaded_list_of *at, size_t *cap, size_t count)
{
	if (count < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : FIRST_CAP;
	loaded_place *longer = arena_alloc(more * sizeof *longer);
	if (!longer)
		return false;
	loaded_place *shorter = shared_own(at);
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
	while (i < shared_own(&loaded.live_most) && loaded_at_locked(i))
		i++;
	if (i == shared_own(&loaded.live_most) && !make_room_locked(&loaded.live, &loaded.live_cap, i))
		return false;
	shared_store_relaxed(&m->gone, false);
	m->seen_in = loaded.renewals;
	if (m->number) {
		mark_granules_locked(m);
		shared_add_release(&loaded.again, 1);
	}
	shared_store_release(&shared_own(&loaded.live)[i], m);
	if (i == shared_own(&loaded.live_most))
		shared_store_release(&loaded.live_most, i + 1);
	return true;
}

void loaded_leave_locked(size_t i)
{
	struct module *m = loaded_at_locked(i);
	shared_store_relaxed(&m->gone, true);
	shared_store_relaxed(&shared_own(&loaded.live)[i], NULL);
	if (m->number)
		shared_sub_relaxed(&loaded.again, 1);
}

/* Mark the objects that overlap m as unloaded. */
static void leave_to_locked(const struct module *m)
{
	for (size_t i = 0; i < shared_own(&loaded.live_most); i++)
		if (loaded_at_locked(i) && loaded_at_locked(i) != m && loaded_at_locked(i)->start < m->end &&
		    m->start < loaded_at_locked(i)->end)
			loaded_leave_locked(i);
}

/* The first range that ends at or behind `at`. */
static size_t first_used(uintptr_t at)
{
	size_t low = 0, high = loaded.used_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (loaded.used[middle].end < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Join the ranges from `from` up to `to` into one. */
static void join_used_locked(size_t from, size_t to, struct loaded_range r)
{
	size_t rest = loaded.used_count - to;
	memmove(&loaded.used[from + 1], &loaded.used[to], rest * sizeof r);
	loaded.used[from] = r;
	loaded.used_count = from + 1 + rest;
}

/* Was an object here before? Note that there is one now. */
static bool use_range_locked(struct loaded_range r)
{
	bool again = false;
	if (loaded.used_count == loaded.used_cap) {
		size_t cap = loaded.used_cap ? loaded.used_cap * 2 : FIRST_CAP;
		struct loaded_range *longer = arena_alloc(cap * sizeof *longer);
		if (!longer)
			return true; /* it may have been */
		if (loaded.used_count)
			memcpy(longer, loaded.used, loaded.used_count * sizeof *longer);
		loaded.used = longer;
		loaded.used_cap = cap;
	}
	size_t from = first_used(r.start), to = from;
	for (; to < loaded.used_count && loaded.used[to].start <= r.end; to++) {
		const struct loaded_range *u = &loaded.used[to];
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
	struct module **at = &loaded.root[like->identity % LOADED_ROOTS];
	for (uint32_t rest = like->identity / LOADED_ROOTS; *at && !is_same(*at, like, path); rest >>= 2)
		at = &(*at)->child[rest % 4];
	return at;
}

static struct module *make_locked(const struct module *like, const char *path)
{
	size_t len = strlen(path) + 1, text_bytes = like->text_count * sizeof *like->text;
	struct module *m = make_room_locked(&loaded.all, &loaded.cap, shared_own(&loaded.count))
	                           ? arena_alloc(sizeof *m + text_bytes + len)
	                           : NULL;
	if (!m)
		return NULL;
	*m = *like;
	m->text = memcpy(m + 1, like->text, text_bytes);
	m->path = memcpy((char *)m->text + text_bytes, path, len);
	shared_set_own(&m->gone, true);
	m->number =
		use_range_locked((struct loaded_range){m->start, m->end}) ? (uint32_t)shared_own(&loaded.count) + 1 : 0;
	shared_set_own(&shared_own(&loaded.all)[shared_own(&loaded.count)], m);
	shared_store_release(&loaded.count, shared_own(&loaded.count) + 1);
	return m;
}

bool loaded_add_locked(const struct headers *h)
{
	struct module like = {.bias = h->bias};
	headers_tell_locked(h, &like);
	if (!like.text_count)
		return false;
	like.identity = identity_of(&like, h->path);
	struct module **at = find_same_locked(&like, h->path), *m = *at;
	if (m && loaded_is_live(m))
		return false;
	if (!m)
		m = *at = make_locked(&like, h->path);
	if (!m)
		return false;
	leave_to_locked(m);
	return enter_live_locked(m);
}

/* After a fork in the middle of a change the lists can be read, but loaded.again may be off by one: count again. */
static void count_again_locked(void)
{
	int again = 0;
	for (size_t i = 0; i < shared_own(&loaded.live_most); i++)
		again += loaded_at_locked(i) && loaded_at_locked(i)->number;
	shared_store_release(&loaded.again, again);
}

bool loaded_take_lock(void)
{
	if (!lock_take(&loaded.lock, LOCK_MODULES))
		return false;
	if (lock_is_inherited(&loaded.lock))
		count_again_locked();
	return true;
}

void loaded_release_lock(void)
{
	lock_release(&loaded.lock);
}

/* An object that lies where another one lay before has a number. The place of a stack holds the numbers of at most two
 * such objects. It is 0 for most stacks. */
uint64_t modules_place_of(const uintptr_t *pc, size_t depth)
{
	uint64_t place = 0, bit;
	if (__builtin_expect(shared_load_acquire(&loaded.again) <= 0, 1))
		return 0;
	for (size_t i = 0; i < depth && place >> 32 == 0; i++) {
		const shared_u64 *word = granule_word(pc[i], &bit);
		const struct module *m = shared_load_relaxed(word) & bit ? loaded_find(pc[i]) : NULL;
		if (m && m->number && !place)
			place = m->number;
		else if (m && m->number && m->number != place)
			place |= (uint64_t)m->number << 32;
	}
	return place;
}
