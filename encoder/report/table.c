/* table.c - the table of a profile.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/table.h"

#include <stdlib.h>
#include <string.h>

#include "encoder/report/edges.h"
#include "encoder/report/nodes.h"
#include "encoder/report/recording.h"
#include "encoder/report/units.h"

static const double EDGE_FRACTION = 0.001; /* pprof's default: calls of less are not looked at */

/* --- counting -------------------------------------------------------------------------------------- */

/* Add a sample to the rows of its frames; to each once, however often the function called itself. */
static void count_sample(const struct nodes *n, const Pprof__Sample *s, int64_t value, uint32_t *seen, uint32_t mark)
{
	for (size_t i = 0; i < s->n_location_id; i++) {
		size_t first = n->first[s->location_id[i] - 1], end = n->first[s->location_id[i]];
		if (i == 0)
			n->row[n->of[first]].flat = recording_sum(n->row[n->of[first]].flat, value);
		for (size_t k = first; k < end; k++) {
			if (seen[n->of[k]] == mark)
				continue;
			seen[n->of[k]] = mark;
			n->row[n->of[k]].cum = recording_sum(n->row[n->of[k]].cum, value);
		}
	}
}

static bool count_frames(const struct nodes *n, const Pprof__Profile *p, size_t type)
{
	uint32_t *seen = calloc(n->count + 1, sizeof *seen);
	for (size_t i = 0; seen && i < p->n_sample; i++)
		if (p->sample[i]->value[type])
			count_sample(n, p->sample[i], p->sample[i]->value[type], seen, (uint32_t)i + 1);
	free(seen);
	return seen != NULL;
}

static void count_labels(const struct nodes *n, const Pprof__Profile *p, size_t type)
{
	for (size_t i = 0; i < p->n_sample; i++) {
		struct table_row *row = &n->row[n->of[i]];
		row->flat = row->cum = recording_sum(row->flat, p->sample[i]->value[type]);
	}
}

/* --- order ----------------------------------------------------------------------------------------- */

static int by_size(int64_t a, int64_t b)
{
	int64_t x = units_size(a), y = units_size(b);
	return (x < y) - (x > y);
}

static int by_flat(const void *a, const void *b)
{
	const struct table_row *const *x = a, *const *y = b;
	int order = by_size((*x)->flat, (*y)->flat);
	if (!order)
		order = strcmp((*x)->name, (*y)->name);
	return order ? order : by_size((*x)->cum, (*y)->cum);
}

static int by_cum(const void *a, const void *b)
{
	const struct table_row *const *x = a, *const *y = b;
	int order = by_size((*x)->cum, (*y)->cum);
	if (!order)
		order = strcmp((*x)->name, (*y)->name);
	return order ? order : by_size((*x)->flat, (*y)->flat);
}

/* --- what is shown --------------------------------------------------------------------------------- */

/* Returns that part of the sum of all rows: what is less is left out. */
static int64_t least_of(const struct nodes *n, double fraction)
{
	int64_t flat = 0;
	for (size_t i = 0; i < n->count; i++)
		flat = recording_sum(flat, n->row[i].flat);
	double part = (double)flat * fraction;
	return units_size((int64_t)part);
}

/* The rows that are shown, by address; in *all how many there are. Returns their number. */
static size_t choose(struct table_row **chosen, const struct nodes *n, const struct table_options *o, size_t *all)
{
	int64_t least = least_of(n, o->fraction);
	size_t count = 0;
	*all = 0;
	for (size_t i = 0; i < n->count; i++) {
		struct table_row *row = &n->row[i];
		bool is_empty = row->flat == 0 && row->cum == 0;
		*all += !is_empty;
		if (!is_empty && units_size(row->cum) >= least)
			chosen[count++] = row;
	}
	qsort(chosen, count, sizeof *chosen, o->by_cum ? by_cum : by_flat);
	return o->most && count > o->most ? o->most : count;
}

/* Calls lead over rows that are left out; but rows whose values add up to nothing count where no other is left out, as
 * in pprof. */
static bool mark_inlined(const struct nodes *n, const Pprof__Profile *p, size_t type, struct table_row **shown,
                         const struct table *t)
{
	bool *kept = calloc(n->count + 1, sizeof *kept);
	for (size_t i = 0; kept && i < n->count; i++)
		kept[i] = t->count == t->all;
	for (size_t i = 0; kept && i < t->count; i++)
		kept[shown[i] - n->row] = true;
	bool all = kept && edges_mark_inlined(n, p, type, kept, least_of(n, EDGE_FRACTION));
	free(kept);
	return all;
}

static void choose_unit(struct table *t)
{
	int64_t smallest = 0;
	for (size_t i = 0; i < t->count; i++) {
		int64_t size = units_size(t->row[i].flat ? t->row[i].flat : t->row[i].cum);
		if (size > 0 && (smallest == 0 || size < smallest))
			smallest = size;
	}
	t->in = units_choose(t->of, smallest ? smallest : t->total, t->total);
}

static bool fill(struct table *t, const struct nodes *n, const Pprof__Profile *p, const struct table_options *o)
{
	struct table_row **chosen = region_alloc(&t->region, (n->count + 1) * sizeof(struct table_row *));
	if (!chosen)
		return false;
	t->count = choose(chosen, n, o, &t->all);
	if (!o->label && !mark_inlined(n, p, o->type, chosen, t))
		return false;
	t->row = region_alloc(&t->region, (t->count + 1) * sizeof *t->row);
	for (size_t i = 0; t->row && i < t->count; i++)
		t->row[i] = *chosen[i];
	if (t->row)
		choose_unit(t);
	return t->row != NULL;
}

bool table_make(struct table *t, const Pprof__Profile *p, const struct table_options *o)
{
	const Pprof__ValueType *type = p->sample_type[o->type];
	struct nodes n;
	*t = (struct table){.total = o->total, .type = p->string_table[type->type], .of = p->string_table[type->unit]};
	bool all = o->label ? nodes_of_label(&n, &t->region, p, o->label)
	                    : nodes_of_frames(&n, &t->region, p, o->lines) && count_frames(&n, p, o->type);
	if (all && o->label)
		count_labels(&n, p, o->type);
	return all && fill(t, &n, p, o);
}

void table_free(struct table *t)
{
	region_release(&t->region);
}
