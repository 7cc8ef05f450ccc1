/* edges.c - who called whom in a table, and whether the call was inlined.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/edges.h"

#include <stdlib.h>

#include "encoder/report/recording.h"
#include "encoder/report/units.h"
#include "shim/base/text.h"

struct edge {
	uint32_t caller_plus_1, callee; /* caller_plus_1 is 0: free */
	uint32_t sample_plus_1;         /* the last one that it was seen in */
	bool inlined;                   /* in every sample */
	int64_t weight;
};

/* A hash table with open addressing; at least a quarter of it is free. */
struct edges {
	struct edge *at;
	size_t cap, count;
};

static struct edge *place_of(const struct edges *s, uint32_t caller_plus_1, uint32_t callee)
{
	const uint32_t key[] = {caller_plus_1, callee};
	size_t i = text_hash(key, sizeof key) & (s->cap - 1);
	while (s->at[i].caller_plus_1 && (s->at[i].caller_plus_1 != caller_plus_1 || s->at[i].callee != callee))
		i = (i + 1) & (s->cap - 1);
	return &s->at[i];
}

static bool make_room(struct edges *s)
{
	if (4 * (s->count + 1) <= 3 * s->cap)
		return true;
	struct edges bigger = {.cap = s->cap ? 2 * s->cap : 1024, .count = s->count};
	bigger.at = calloc(bigger.cap, sizeof *bigger.at);
	if (!bigger.at)
		return false;
	for (size_t i = 0; i < s->cap; i++)
		if (s->at[i].caller_plus_1)
			*place_of(&bigger, s->at[i].caller_plus_1, s->at[i].callee) = s->at[i];
	free(s->at);
	*s = bigger;
	return true;
}

/* A call in a sample: the first one between the two says how it was made there. */
static bool add_call(struct edges *s, const struct edge *call, int64_t weight)
{
	if (!make_room(s))
		return false;
	struct edge *e = place_of(s, call->caller_plus_1, call->callee);
	if (!e->caller_plus_1) {
		*e = *call;
		s->count++;
	} else if (e->sample_plus_1 == call->sample_plus_1) {
		return true;
	}
	e->sample_plus_1 = call->sample_plus_1;
	e->inlined &= call->inlined;
	e->weight = recording_sum(e->weight, weight);
	return true;
}

static bool add_sample(struct edges *s, const struct nodes *n, const Pprof__Profile *p, uint32_t number, size_t type,
                       const bool *kept)
{
	const Pprof__Sample *sample = p->sample[number];
	uint32_t caller_plus_1 = 0;
	for (size_t i = sample->n_location_id; i-- > 0;) {
		size_t first = n->first[sample->location_id[i] - 1], end = n->first[sample->location_id[i]];
		for (size_t k = end; k-- > first;) {
			uint32_t node = n->of[k];
			if (!kept[node])
				continue;
			const struct edge call = {caller_plus_1, node, number + 1, k != end - 1, 0};
			if (caller_plus_1 && caller_plus_1 != node + 1 && !add_call(s, &call, sample->value[type]))
				return false;
			caller_plus_1 = node + 1;
		}
	}
	return true;
}

static void mark(const struct edges *s, struct table_row *row, size_t count, int64_t least)
{
	enum { INLINED = 1, CALLED = 2 };
	static const enum table_inlined says[] = {TABLE_CALLED, TABLE_INLINED, TABLE_CALLED, TABLE_PARTLY_INLINED};
	unsigned char *seen = calloc(count + 1, 1);
	if (!seen)
		return;
	for (size_t i = 0; i < s->cap; i++)
		if (s->at[i].caller_plus_1 && units_size(s->at[i].weight) >= least)
			seen[s->at[i].callee] |= s->at[i].inlined ? INLINED : CALLED;
	for (size_t i = 0; i < count; i++)
		row[i].inlined = says[seen[i]];
	free(seen);
}

bool edges_mark_inlined(const struct nodes *n, const Pprof__Profile *p, size_t type, const bool *kept, int64_t least)
{
	struct edges s = {0};
	bool all = true;
	for (size_t i = 0; i < p->n_sample && all; i++)
		if (p->sample[i]->value[type])
			all = add_sample(&s, n, p, (uint32_t)i, type, kept);
	if (all)
		mark(&s, n->row, n->count, least);
	free(s.at);
	return all;
}
