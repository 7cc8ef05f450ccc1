/* strings.c - a hash table of strings.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/elf/strings.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/symbolize/demangle.h"

enum {
	BUCKETS_FIRST = 1 << 10, /* a power of two */
	TEXT_MOST = 64 * 1024,   /* bytes; what is longer is cut */
};

struct text_entry {
	struct text_entry *next;
	const char *name; /* demangled, of an entry that was asked for that; else NULL */
	uint32_t hash, len;
	char text[];
};

static char clean(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f ? '?' : c;
}

static uint32_t hash_of(const char *s, size_t len)
{
	uint32_t h = 2166136261u; /* FNV-1a */
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)clean(s[i])) * 16777619u;
	return h;
}

static bool is_clean_of(const char *kept, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (kept[i] != clean(s[i]))
			return false;
	return true;
}

static void grow(struct texts *t)
{
	size_t buckets = t->buckets ? t->buckets * 4 : BUCKETS_FIRST;
	struct text_entry **bucket = calloc(buckets, sizeof *bucket);
	if (!bucket)
		return;
	for (size_t i = 0; i < t->buckets; i++)
		for (struct text_entry *e = t->bucket[i], *next; e; e = next) {
			next = e->next;
			e->next = bucket[e->hash & (buckets - 1)];
			bucket[e->hash & (buckets - 1)] = e;
		}
	free(t->bucket);
	t->bucket = bucket;
	t->buckets = buckets;
}

const char *texts_keep(struct texts *t, const char *s, size_t len)
{
	if (len > TEXT_MOST)
		len = TEXT_MOST;
	if (t->count >= t->buckets)
		grow(t);
	if (!t->buckets)
		return NULL;
	uint32_t hash = hash_of(s, len);
	struct text_entry **first = &t->bucket[hash & (t->buckets - 1)];
	struct text_entry *made = NULL;
	for (struct text_entry *e = *first; e; e = e->next)
		if (e->hash == hash && e->len == len && is_clean_of(e->text, s, len))
			return e->text;
	made = region_alloc(&t->region, sizeof *made + len + 1);
	if (!made)
		return NULL;
	made->hash = hash;
	made->len = (uint32_t)len;
	for (size_t i = 0; i < len; i++)
		made->text[i] = clean(s[i]);
	made->next = *first;
	*first = made;
	t->count++;
	return made->text;
}

const char *texts_name(struct texts *t, const char *system)
{
	struct text_entry *e = (void *)(system - offsetof(struct text_entry, text));
	if (e->name)
		return e->name;
	char *text = demangle(system, false);
	const char *kept = text ? texts_keep(t, text, strlen(text)) : NULL;
	free(text);
	e->name = kept ? kept : system;
	return e->name;
}

void texts_release(struct texts *t)
{
	region_release(&t->region);
	free(t->bucket);
	*t = (struct texts){0};
}
