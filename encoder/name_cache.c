/* name_cache.c - what was found out about addresses, kept for the next request.
 *
 * Runs in: listener. One owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/name_cache.h"

#include "encoder/intern.h"
#include "encoder/utf8.h"

enum {
	SLOTS = 4096,
	MODULES = 64, /* of them, the objects are at hand */
	ADDRESSES_MAX = 100 * 1000,
	TEXT_MAX_BYTES = 6 << 20, /* of names and paths */
};

static struct {
	struct region region;
	struct intern objects, texts;
	size_t count, text_bytes;
	struct cached *slot[SLOTS];
	struct {
		const struct module *module;
		struct object *object;
	} recent[MODULES]; /* by module */
} cache;

void cache_forget(void)
{
	region_release(&cache.region);
	memset(&cache, 0, sizeof cache);
}

void cache_trim(void)
{
	if (cache.count > ADDRESSES_MAX || cache.text_bytes > TEXT_MAX_BYTES)
		cache_forget();
}

/* A key that holds its object: intern numbers keys, and this is found by the key's address. */
struct object_key {
	struct object object;
	uint8_t id[32];
};

static struct object *object_at(struct span id)
{
	return (struct object *)(void *)(id.at - offsetof(struct object_key, id));
}

static struct object *find_object(const struct module *m)
{
	struct span id = {(const char *)m->build_id, m->build_id_len};
	if (!id.len)
		id = (struct span){(const char *)&m, sizeof m};
	struct span known = intern_key(&cache.objects, id);
	if (known.at)
		return object_at(known);
	struct object_key *new = region_alloc(&cache.region, sizeof *new);
	bool is_new;
	if (!new)
		return NULL;
	memcpy(new->id, id.at, id.len);
	new->object.number = (uint32_t)cache.objects.count;
	id.at = (const char *)new->id;
	return intern(&cache.objects, &cache.region, id, &is_new) < 0 ? NULL : object_at(id);
}

struct object *cache_object(const struct module *m)
{
	size_t i = ((uintptr_t)m >> 6) % MODULES;
	if (cache.recent[i].module != m || !cache.recent[i].object) {
		cache.recent[i].module = m;
		cache.recent[i].object = find_object(m);
	}
	return cache.recent[i].object;
}

static struct cached **slot_of(const struct object *o, uint64_t address)
{
	return &cache.slot[((address + o->number) * 0x9e3779b97f4a7c15u >> 40) % SLOTS];
}

const struct cached *cache_find(const struct object *o, uint64_t address)
{
	const struct cached *c = o ? *slot_of(o, address) : NULL;
	while (c && (c->address != address || c->object != o))
		c = c->next;
	return c;
}

/* The same text is kept once. */
static bool keep_text(struct span *text)
{
	bool is_new;
	if (!text->len)
		return true;
	struct span known = intern_key(&cache.texts, *text);
	if (known.at) {
		*text = known;
		return true;
	}
	char *copy = utf8_line(&cache.region, *text);
	if (!copy)
		return false;
	*text = (struct span){copy, text->len};
	cache.text_bytes += text->len;
	return intern(&cache.texts, &cache.region, *text, &is_new) >= 0;
}

static struct name_frame *keep_frames(const struct name_frame *from, uint32_t count)
{
	struct name_frame *frame = region_alloc(&cache.region, count * sizeof *frame + 1);
	for (uint32_t i = 0; frame && i < count; i++) {
		frame[i] = from[i];
		if (!keep_text(&frame[i].function) || !keep_text(&frame[i].system) || !keep_text(&frame[i].file))
			return NULL;
	}
	return frame;
}

void cache_put(const struct object *o, uint64_t address, uint64_t start, const struct name_frame *frame, uint32_t count,
               bool complete)
{
	struct cached *c = (struct cached *)cache_find(o, address);
	const struct name_frame *kept = keep_frames(frame, count);
	bool is_new = !c;
	if (is_new)
		c = region_alloc(&cache.region, sizeof *c);
	if (!c || !kept)
		return;
	struct cached *next = is_new ? *slot_of(o, address) : c->next;
	*c = (struct cached){next, o, address, start, kept, count, complete};
	if (!is_new)
		return;
	*slot_of(o, address) = c;
	cache.count++;
}
