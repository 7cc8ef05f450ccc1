/* samples.c - take the samples of a profile into a merge, with what they refer to.
 *
 * Runs in: pprofshim-symbolize. The profile is sound (source.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "encoder/merge/merged.h"

enum { PAGE = 4096 };

/* Memory for the bytes of one thing. */
struct scratch {
	void *at;
	size_t cap;
};

struct adding {
	struct merge *m;
	struct source s;
	const struct merge_label *label;
	size_t labels;
	struct scratch key, sorted;
};

static void *scratch_room(struct adding *a, struct scratch *s, size_t bytes)
{
	if (bytes <= s->cap)
		return s->at;
	void *at = realloc(s->at, 2 * bytes);
	if (!at) {
		a->m->full = true;
		return NULL;
	}
	s->at = at;
	s->cap = 2 * bytes;
	return at;
}

/* --- strings, mappings, functions ------------------------------------------------------------------ */

static uint32_t string(struct adding *a, int64_t number)
{
	uint32_t *known = &a->s.string[number];
	if (!*known)
		*known = merged_string(a->m, a->s.p->string_table[number]) + 1;
	return *known - 1;
}

/* Joins the flags of equal mappings: has_functions if both have it, the others if either has them. */
static void meet(struct mapping_rest *r, const Pprof__Mapping *m)
{
	r->has_functions &= m->has_functions != 0;
	r->has_filenames |= m->has_filenames != 0;
	r->has_line_numbers |= m->has_line_numbers != 0;
	r->has_inline_frames |= m->has_inline_frames != 0;
}

static uint32_t add_mapping(struct adding *a, const Pprof__Mapping *p)
{
	struct merge *m = a->m;
	struct mapping_rest rest = {.start = p->memory_start,
	                            .limit = p->memory_limit,
	                            .file = string(a, p->filename),
	                            .build_id = string(a, p->build_id),
	                            .has_functions = p->has_functions != 0};
	struct mapping_key key = {.size = (p->memory_limit - p->memory_start + PAGE - 1) / PAGE * PAGE,
	                          .offset = p->file_offset,
	                          .text = rest.build_id ? rest.build_id : rest.file};
	size_t before = merged_count(&m->mappings);
	uint32_t number = merged_number(m, &m->mappings, &key, sizeof key);
	bool is_new = merged_count(&m->mappings) > before;
	struct mapping_rest *all = merged_room(m, m->mapping, &m->mapping_cap, number, sizeof *all);
	if (!all)
		return 0;
	m->mapping = all;
	if (is_new)
		all[number] = rest;
	if (!m->full)
		meet(&all[number], p);
	return number;
}

static uint32_t mapping(struct adding *a, size_t index)
{
	uint32_t *known = &a->s.mapping[index];
	if (!*known)
		*known = add_mapping(a, a->s.p->mapping[index]) + 1;
	return *known - 1;
}

static uint32_t function(struct adding *a, size_t index)
{
	uint32_t *known = &a->s.function[index];
	if (*known)
		return *known - 1;
	const Pprof__Function *f = a->s.p->function[index];
	struct function_key key = {.name = string(a, f->name),
	                           .system = string(a, f->system_name),
	                           .file = string(a, f->filename),
	                           .start_line = f->start_line};
	*known = merged_number(a->m, &a->m->functions, &key, sizeof key) + 1;
	return *known - 1;
}

/* --- locations ------------------------------------------------------------------------------------- */

static uint32_t add_location(struct adding *a, const Pprof__Location *l)
{
	size_t bytes = sizeof(struct location_key) + l->n_line * sizeof(struct line_key);
	struct location_key *key = scratch_room(a, &a->key, bytes);
	const struct place *at = places_find(&a->s.mapping_places, l->mapping_id);
	if (!key)
		return 0;
	*key = (struct location_key){.mapping = at ? mapping(a, at->index) + 1 : 0,
	                             .address = l->address - (at ? a->s.p->mapping[at->index]->memory_start : 0),
	                             .folded = l->is_folded != 0};
	for (size_t i = 0; i < l->n_line; i++)
		key->line[i] = (struct line_key){
			.function = function(a, places_find(&a->s.function_places, l->line[i]->function_id)->index),
			.line = l->line[i]->line,
			.column = l->line[i]->column,
		};
	return merged_number(a->m, &a->m->locations, key, bytes);
}

static uint32_t location(struct adding *a, uint64_t id)
{
	size_t index = places_find(&a->s.location_places, id)->index;
	uint32_t *known = &a->s.location[index];
	if (!*known)
		*known = add_location(a, a->s.p->location[index]) + 1;
	return *known - 1;
}

/* --- labels ---------------------------------------------------------------------------------------- */

/* Labels of one key stay in their order. */
struct sorted_label {
	struct label_key label;
	uint32_t place;
};

static int by_kind_and_key(const void *a, const void *b)
{
	const struct sorted_label *x = a, *y = b;
	if (x->label.kind != y->label.kind)
		return x->label.kind < y->label.kind ? -1 : 1;
	if (x->label.key != y->label.key)
		return x->label.key < y->label.key ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

static bool is_replaced(const struct adding *a, int64_t key)
{
	for (size_t i = 0; i < a->labels; i++)
		if (strcmp(a->s.p->string_table[key], a->label[i].key) == 0)
			return true;
	return false;
}

/* Returns false if the label says nothing, or ours takes its place. */
static bool label_of(struct adding *a, const Pprof__Label *l, struct label_key *key)
{
	if (l->str) {
		if (is_replaced(a, l->key))
			return false;
		*key = (struct label_key){.kind = LABEL_TEXT, .key = string(a, l->key), .low = string(a, l->str)};
		return key->low != 0; /* the empty text, which cannot be told from none when it is written */
	}
	if (l->num == 0 && l->num_unit == 0)
		return false;
	*key = (struct label_key){.kind = LABEL_NUMBER,
	                          .key = string(a, l->key),
	                          .low = (uint32_t)(uint64_t)l->num,
	                          .high = (uint32_t)((uint64_t)l->num >> 32),
	                          .unit = string(a, l->num_unit)};
	return true;
}

/* Returns how many labels were written to `to`, which has room. */
static size_t labels_of(struct adding *a, const Pprof__Sample *s, uint32_t *to)
{
	struct sorted_label *l = scratch_room(a, &a->sorted, (s->n_label + a->labels + 1) * sizeof *l);
	size_t n = 0;
	if (!l)
		return 0;
	for (size_t i = 0; i < s->n_label; i++)
		if (label_of(a, s->label[i], &l[n].label))
			l[n].place = (uint32_t)n, n++;
	for (size_t i = 0; i < a->labels; i++, n++)
		l[n] = (struct sorted_label){{.kind = LABEL_TEXT,
		                              .key = merged_string(a->m, a->label[i].key),
		                              .low = merged_string(a->m, a->label[i].value)},
		                             (uint32_t)n};
	qsort(l, n, sizeof *l, by_kind_and_key);
	for (size_t i = 0; i < n; i++)
		memcpy(to + i * LABEL_WORDS, &l[i].label, sizeof l[i].label);
	return n;
}

/* --- samples --------------------------------------------------------------------------------------- */

static bool is_zero(const Pprof__Sample *s)
{
	for (size_t i = 0; i < s->n_value; i++)
		if (s->value[i])
			return false;
	return true;
}

/* Returns the number of the sample with this stack and these labels. */
static uint32_t number_of(struct adding *a, const Pprof__Sample *s)
{
	size_t words = 1 + s->n_location_id + (s->n_label + a->labels) * LABEL_WORDS;
	for (size_t i = 0; i < s->n_location_id; i++)
		location(a, s->location_id[i]); /* that needs the scratch, too */
	uint32_t *key = scratch_room(a, &a->key, words * sizeof *key);
	if (!key)
		return 0;
	key[0] = (uint32_t)s->n_location_id;
	for (size_t i = 0; i < s->n_location_id; i++)
		key[1 + i] = location(a, s->location_id[i]);
	words = 1 + s->n_location_id;
	words += labels_of(a, s, key + words) * LABEL_WORDS;
	return a->m->full ? 0 : merged_number(a->m, &a->m->samples, key, words * sizeof *key);
}

/* Returns false if memory ended: the merge is as it was before this sample. */
static bool add_sample(struct adding *a, const Pprof__Sample *s)
{
	struct merge *m = a->m;
	uint32_t number = number_of(a, s);
	size_t items = m->types * sizeof *m->values;
	int64_t *values = m->full ? NULL : merged_room(m, m->values, &m->values_cap, number, items);
	if (!values)
		return false;
	m->values = values;
	for (size_t i = 0; i < m->types; i++) {
		int64_t *sum = &values[number * m->types + i];
		*sum = (int64_t)((uint64_t)*sum + (uint64_t)s->value[i]);
	}
	return true;
}

/* The first mapping of a profile is the program. That of the first profile with mappings is the first of the merge. */
static void add_samples(struct adding *a, size_t *lost)
{
	const Pprof__Profile *p = a->s.p;
	if (merged_count(&a->m->mappings) == 0 && p->n_mapping)
		mapping(a, 0);
	for (size_t i = 0; i < p->n_sample; i++)
		if (!is_zero(p->sample[i]) && !add_sample(a, p->sample[i]))
			++*lost;
}

const char *merge_add(struct merge *m, const Pprof__Profile *p, const struct merge_label *label, size_t labels,
                      size_t *lost)
{
	struct adding a = {.m = m, .label = label, .labels = labels};
	const char *wrong = m->full ? "there is no memory left for it" : source_open(&a.s, p);
	*lost = 0;
	if (!wrong)
		wrong = headers_agree(m, p);
	if (!wrong) {
		headers_add(m, &a.s);
		add_samples(&a, lost);
		m->count++;
	}
	source_close(&a.s);
	free(a.key.at);
	free(a.sorted.at);
	return wrong;
}
