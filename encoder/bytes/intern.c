/* intern.c - number byte strings: an open-addressed hash table that doubles.
 *
 * Runs in: listener. Lives in a request's region; one owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/intern.h"

static uint32_t hash_bytes(struct span s) /* FNV-1a */
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.at[i]) * 16777619u;
	return h;
}

static struct intern_entry *find(const struct intern *t, struct span key, uint32_t hash)
{
	for (size_t i = hash;; i++) {
		struct intern_entry *e = &t->entry[i & (t->cap - 1)];
		if (!e->number_plus_1 ||
		    (e->hash == hash && e->key.len == key.len && (!key.len || memcmp(e->key.at, key.at, key.len) == 0)))
			return e;
	}
}

static bool grow(struct intern *t, struct region *r)
{
	struct intern bigger = {.cap = t->cap ? t->cap * 2 : 256, .count = t->count};
	bigger.entry = region_alloc(r, bigger.cap * sizeof *bigger.entry);
	if (!bigger.entry)
		return false;
	for (size_t i = 0; i < t->cap; i++)
		if (t->entry[i].number_plus_1)
			*find(&bigger, t->entry[i].key, t->entry[i].hash) = t->entry[i];
	*t = bigger;
	return true;
}

int64_t intern(struct intern *t, struct region *r, struct span key, bool *is_new)
{
	if (t->count * 2 >= t->cap && !grow(t, r))
		return -1;
	uint32_t hash = hash_bytes(key);
	struct intern_entry *e = find(t, key, hash);
	*is_new = !e->number_plus_1;
	if (*is_new)
		*e = (struct intern_entry){.key = key, .hash = hash, .number_plus_1 = (uint32_t)++t->count};
	return e->number_plus_1 - 1;
}

int64_t intern_find(const struct intern *t, struct span key)
{
	return t->cap ? (int64_t)find(t, key, hash_bytes(key))->number_plus_1 - 1 : -1;
}

struct span intern_key(const struct intern *t, struct span key)
{
	return t->cap ? find(t, key, hash_bytes(key))->key : (struct span){0};
}
