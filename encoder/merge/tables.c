/* tables.c - the tables of a merge: bytes to numbers.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/utf8.h"
#include "encoder/merge/merged.h"

void *merged_room(struct merge *m, void *array, size_t *cap, size_t number, size_t bytes)
{
	if (number < *cap)
		return array;
	size_t more = 2 * number + 64;
	void *bigger = more <= UINT32_MAX ? region_alloc(&m->region, more * bytes) : NULL;
	if (!bigger) {
		m->full = true;
		return NULL;
	}
	if (*cap)
		memcpy(bigger, array, *cap * bytes);
	*cap = more;
	return bigger;
}

static struct span copy_of(struct merge *m, struct span s)
{
	char *copy = region_alloc(&m->region, s.len + 1);
	if (copy && s.len)
		memcpy(copy, s.at, s.len);
	return (struct span){copy, copy ? s.len : 0};
}

static uint32_t add(struct merge *m, struct numbered *n, struct span key)
{
	bool is_new;
	struct span *keys = merged_room(m, n->key, &n->cap, n->table.count, sizeof *n->key);
	struct span copy = copy_of(m, key);
	if (keys)
		n->key = keys;
	int64_t number = keys && copy.at ? intern(&n->table, &m->region, copy, &is_new) : -1;
	if (number < 0) {
		m->full = true;
		return 0;
	}
	n->key[number] = copy;
	return (uint32_t)number;
}

uint32_t merged_number(struct merge *m, struct numbered *n, const void *bytes, size_t len)
{
	struct span key = {bytes, len};
	int64_t number = intern_find(&n->table, key);
	return number >= 0 ? (uint32_t)number : m->full ? 0 : add(m, n, key);
}

static bool is_ascii(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

/* Strings of a profile must be UTF-8; those that differ in other bytes alone become equal. */
uint32_t merged_string(struct merge *m, const char *text)
{
	if (is_ascii(text))
		return merged_number(m, &m->strings, text, strlen(text));
	struct region r = {0};
	const char *clean = utf8_copy(&r, span_of(text));
	m->full |= !clean;
	uint32_t number = clean ? merged_number(m, &m->strings, clean, strlen(clean)) : 0;
	region_release(&r);
	return number;
}

/* --- the whole ------------------------------------------------------------------------------------- */

struct merge *merge_new(void)
{
	struct merge *m = calloc(1, sizeof *m);
	if (m)
		merged_string(m, ""); /* number 0 */
	return m;
}

void merge_free(struct merge *m)
{
	for (size_t i = 0; i < m->notes; i++)
		free(m->note[i]);
	free(m->note);
	region_release(&m->region);
	free(m);
}

size_t merge_count(const struct merge *m)
{
	return m->count;
}

void merge_note(struct merge *m, const char *text)
{
	if (m->notes == m->notes_cap) {
		size_t cap = 2 * m->notes_cap + 16;
		char **note = realloc(m->note, cap * sizeof *note);
		if (!note)
			return;
		m->note = note;
		m->notes_cap = cap;
	}
	char *copy = strdup(text);
	if (copy)
		m->note[m->notes++] = copy;
}
