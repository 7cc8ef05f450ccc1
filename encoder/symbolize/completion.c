/* completion.c - find strings, functions and ids of a profile by what they are, and add to them.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/completion.h"

#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/utf8.h"

bool completion_fail(struct completion *c, const char *why)
{
	c->wrong = why;
	return false;
}

/* Make room for one more in an array of `count` pointers. *cap is 0 at first: the array is then the profile's own. */
bool completion_grow(struct completion *c, void *array, size_t count, size_t *cap)
{
	void **old, **new;
	if (count < *cap)
		return true;
	memcpy(&old, array, sizeof old);
	size_t more = 2 * count + 64;
	if (more > UINT32_MAX / 2 || !(new = realloc(old, more * sizeof *new)))
		return completion_fail(c, COMPLETION_NO_MEMORY);
	memcpy(array, &new, sizeof new);
	*cap = more;
	return true;
}

/* --- tables of numbers ------------------------------------------------------------------------------------- */

uint64_t completion_hash(uint64_t h, const void *p, size_t len)
{
	for (const unsigned char *s = p; len--; s++)
		h = (h ^ *s) * 0x100000001b3; /* FNV-1a */
	return h;
}

/* Returns the slot of the number that `is_it` accepts, or the free slot where it belongs. The table must have room. */
uint32_t *table_slot(const struct table *t, uint64_t hash,
                     bool (*is_it)(const void *all, uint32_t number, const void *it), const void *all, const void *it)
{
	size_t i = (hash ^ hash >> 32) & (t->cap - 1);
	while (t->slot[i] && !is_it(all, t->slot[i] - 1, it))
		i = (i + 1) & (t->cap - 1);
	return &t->slot[i];
}

/* Must the table grow before it takes one more? */
bool table_is_full(const struct table *t)
{
	return 2 * (t->count + 1) > t->cap;
}

/* Replace the table by an empty one with room for `count` and some more. */
bool table_renew(struct table *t, size_t count)
{
	size_t cap = 1024;
	while (cap < 4 * count)
		cap *= 2;
	free(t->slot);
	*t = (struct table){calloc(cap, sizeof *t->slot), cap, 0};
	return t->slot != NULL;
}

/* --- strings --------------------------------------------------------------------------------------- */

const char *completion_text(const struct completion *c, int64_t number)
{
	return number >= 0 && (uint64_t)number < c->p->n_string_table ? c->p->string_table[number] : "";
}

static bool string_is(const void *all, uint32_t number, const void *it)
{
	return strcmp(((const Pprof__Profile *)all)->string_table[number], it) == 0;
}

static uint32_t *string_slot(const struct completion *c, const char *s)
{
	return table_slot(&c->strings, completion_hash(0, s, strlen(s)), string_is, c->p, s);
}

bool completion_index_strings(struct completion *c)
{
	if (c->p->n_string_table > UINT32_MAX / 8 || !table_renew(&c->strings, c->p->n_string_table))
		return completion_fail(c, COMPLETION_NO_MEMORY);
	for (size_t i = 0; i < c->p->n_string_table; i++) {
		uint32_t *slot = string_slot(c, c->p->string_table[i]);
		if (*slot)
			continue; /* of equal strings, the first is used */
		*slot = (uint32_t)i + 1;
		c->strings.count++;
	}
	return true;
}

/* Add a string that the table lacks. Returns its number; 0: no memory. */
static int64_t add_string(struct completion *c, const char *s)
{
	if (table_is_full(&c->strings) && !completion_index_strings(c))
		return 0;
	if (!completion_grow(c, &c->p->string_table, c->p->n_string_table, &c->string_cap))
		return 0;
	char *copy = strdup(s);
	if (!copy)
		return completion_fail(c, COMPLETION_NO_MEMORY);
	*string_slot(c, copy) = (uint32_t)c->p->n_string_table + 1;
	c->strings.count++;
	c->p->string_table[c->p->n_string_table] = copy;
	return (int64_t)c->p->n_string_table++;
}

/* Returns the number of s, a text from a file. It may hold any bytes, but the profile's strings must be UTF-8. */
int64_t completion_string(struct completion *c, const char *s)
{
	struct region r = {0};
	int64_t number = *string_slot(c, s);
	if (number)
		return number - 1;
	const char *clean = utf8_line(&r, span_of(s));
	if (!clean)
		return completion_fail(c, COMPLETION_NO_MEMORY);
	number = *string_slot(c, clean);
	number = number ? number - 1 : add_string(c, clean);
	region_release(&r);
	return number;
}

/* --- by id ----------------------------------------------------------------------------------------- */

bool completion_index_ids(struct completion *c)
{
	const Pprof__Profile *p = c->p;
	if (!places_make(&c->mappings, p->n_mapping) || !places_make(&c->functions, p->n_function))
		return completion_fail(c, COMPLETION_NO_MEMORY);
	for (size_t i = 0; i < p->n_mapping; i++)
		c->mappings.at[i] = (struct place){p->mapping[i]->id, i};
	for (size_t i = 0; i < p->n_function; i++)
		c->functions.at[i] = (struct place){p->function[i]->id, i};
	places_sort(&c->mappings);
	places_sort(&c->functions);
	c->next_id = p->n_function ? c->functions.at[p->n_function - 1].id + 1 : 1;
	return c->next_id < UINT64_MAX / 2 && c->next_id
	               ? true
	               : completion_fail(c, "its functions have numbers that leave no room for more");
}

const Pprof__Function *completion_function_of(const struct completion *c, const Pprof__Line *line)
{
	const struct place *at = line->function_id ? places_find(&c->functions, line->function_id) : NULL;
	return at ? c->p->function[at->index] : NULL;
}
