/* cache.c - what was found out about addresses, kept for the next request.
 *
 * Runs in: listener. One owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/cache.h"

#include "encoder/bytes/intern.h"
#include "encoder/bytes/utf8.h"

enum {
	SLOTS = 4096,
	MODULES = 64, /* slots for the objects of modules used last */
	MOST_BYTES = 16 << 20,
	INTERNED_BYTES =
		3 * sizeof(struct intern_entry), /* cost of an entry: the table is half empty, its old ones stay */
};

static struct {
	struct region region;
	struct intern objects, texts;
	uint64_t bytes, most_bytes; /* roughly: in use, and its share */
	struct cached *slot[SLOTS];
	struct {
		const struct module *module;
		struct object *object;
	} recent[MODULES]; /* by module */
} cache = {.most_bytes = MOST_BYTES};

static void *allocate(size_t bytes)
{
	cache.bytes += bytes;
	return region_alloc(&cache.region, bytes);
}

void cache_forget(void)
{
	uint64_t most_bytes = cache.most_bytes;
	region_release(&cache.region);
	memset(&cache, 0, sizeof cache);
	cache.most_bytes = most_bytes;
}

void cache_start(uint64_t memory_limit_bytes)
{
	cache_forget();
	cache.most_bytes = memory_limit_bytes / 8 < MOST_BYTES ? memory_limit_bytes / 8 : MOST_BYTES;
}

void cache_trim(void)
{
	if (cache.bytes > cache.most_bytes)
		cache_forget();
}

/* One request may exceed the share, but only up to twice its size. */
static bool is_full(void)
{
	return cache.bytes > 2 * cache.most_bytes;
}

/* A key with its object in front. intern keeps the key's address, from which the object is found. */
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
	struct object_key *new = allocate(sizeof *new);
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

/* Keep a text; equal texts are kept once. */
static bool keep_text(struct span *text)
{
	bool is_new;
	if (!text->len)
		return true;
	struct region_mark mark = region_mark(&cache.region);
	struct span known = intern_key(&cache.texts, *text);
	if (!known.at) {
		text->at = utf8_line(&cache.region, *text);
		if (!text->at)
			return false;
		known = intern_key(&cache.texts, *text); /* its bytes have changed if they were not valid UTF-8 */
	}
	if (known.at) {
		*text = known;
		region_rewind(&cache.region, mark);
		return true;
	}
	cache.bytes += text->len + INTERNED_BYTES;
	return intern(&cache.texts, &cache.region, *text, &is_new) >= 0;
}

static struct name_frame *keep_frames(const struct name_frame *from, uint32_t count)
{
	struct name_frame *frame = allocate(count * sizeof *frame + 1);
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
	if (is_full())
		return;
	const struct name_frame *kept = keep_frames(frame, count);
	bool is_new = !c;
	if (is_new)
		c = allocate(sizeof *c);
	if (!c || !kept)
		return;
	struct cached *next = is_new ? *slot_of(o, address) : c->next;
	*c = (struct cached){.next = next,
	                     .object = o,
	                     .address = address,
	                     .start = start,
	                     .frame = kept,
	                     .count = count,
	                     .complete = complete};
	if (!is_new)
		return;
	*slot_of(o, address) = c;
}

static void put_call(const struct object *o, uint64_t address, const struct cached_call *call)
{
	struct cached *c = (struct cached *)cache_find(o, address);
	struct cached_call *kept = c && !is_full() ? allocate(sizeof *kept) : NULL;
	if (!kept)
		return;
	*kept = *call;
	if (keep_text(&kept->name))
		c->call = kept;
}

void cache_put_callee(const struct object *o, uint64_t address, struct span name, uint64_t to)
{
	put_call(o, address, &(struct cached_call){.name = name, .to = to});
}

void cache_put_jumps(const struct object *o, uint64_t address, uint64_t start, const struct way_jump *jump,
                     uint32_t count)
{
	struct way_jump *kept = is_full() ? NULL : allocate(count * sizeof *kept + 1);
	for (uint32_t i = 0; kept && i < count; i++) {
		kept[i] = jump[i];
		if (!keep_text(&kept[i].name))
			return;
	}
	cache_put(o, address, start, NULL, 0, true);
	if (kept && count)
		put_call(o, address, &(struct cached_call){.jump = kept, .jumps = count});
}
