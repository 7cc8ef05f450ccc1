/* places.c - where in an array the message with an id stands.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/saved/places.h"

#include <stdlib.h>

#include "encoder/bytes/sort.h"

static int by_id(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

bool places_make(struct places *s, size_t count)
{
	*s = (struct places){calloc(count + 1, sizeof *s->at), count};
	return s->at != NULL;
}

void places_sort(struct places *s)
{
	qsort(s->at, s->count, sizeof *s->at, by_id);
}

void places_free(struct places *s)
{
	free(s->at);
	*s = (struct places){0};
}

const struct place *places_find(const struct places *s, uint64_t id)
{
	size_t i = sort_first_from(s->at, s->count, sizeof *s->at, id);
	return i < s->count && s->at[i].id == id ? &s->at[i] : NULL;
}
