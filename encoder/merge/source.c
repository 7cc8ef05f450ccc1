/* source.c - a profile that is to be merged: is it sound, and what is where in it?
 *
 * Runs in: pprofshim-symbolize. The profile may come from anybody.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "encoder/merge/merged.h"

/* --- ids ------------------------------------------------------------------------------------------- */

static bool are_unique(const struct places *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->at[i].id == 0 || (i && s->at[i].id == s->at[i - 1].id))
			return false;
	return true;
}

/* The messages of mappings, functions and locations all begin alike: with their id. */
#define INDEX(places, messages, n) \
	({ \
		bool made = places_make(places, n); \
		for (size_t i_ = 0; made && i_ < (n); i_++) \
			(places)->at[i_] = (struct place){(messages)[i_]->id, i_}; \
		if (made) \
			places_sort(places); \
		made; \
	})

static const char *index_ids(struct source *s)
{
	const Pprof__Profile *p = s->p;
	if (!INDEX(&s->mapping_places, p->mapping, p->n_mapping) ||
	    !INDEX(&s->function_places, p->function, p->n_function) ||
	    !INDEX(&s->location_places, p->location, p->n_location))
		return "there is no memory for it";
	if (!are_unique(&s->mapping_places) || !are_unique(&s->function_places) || !are_unique(&s->location_places))
		return "an id in it is 0, or is there twice";
	return NULL;
}

/* --- numbers of strings ---------------------------------------------------------------------------- */

static bool is_text(const Pprof__Profile *p, int64_t number)
{
	return number >= 0 && (uint64_t)number < p->n_string_table;
}

static bool is_type(const Pprof__Profile *p, const Pprof__ValueType *t)
{
	return is_text(p, t->type) && is_text(p, t->unit);
}

static bool head_is_sound(const Pprof__Profile *p)
{
	bool sound = is_text(p, p->drop_frames) && is_text(p, p->keep_frames) && is_text(p, p->default_sample_type) &&
	             is_text(p, p->doc_url) && (!p->period_type || is_type(p, p->period_type));
	for (size_t i = 0; i < p->n_sample_type; i++)
		sound &= is_type(p, p->sample_type[i]);
	for (size_t i = 0; i < p->n_comment; i++)
		sound &= is_text(p, p->comment[i]);
	for (size_t i = 0; i < p->n_mapping; i++)
		sound &= is_text(p, p->mapping[i]->filename) && is_text(p, p->mapping[i]->build_id);
	for (size_t i = 0; i < p->n_function; i++) {
		const Pprof__Function *f = p->function[i];
		sound &= is_text(p, f->name) && is_text(p, f->system_name) && is_text(p, f->filename);
	}
	return sound;
}

static bool labels_are_sound(const Pprof__Profile *p, const Pprof__Sample *sample)
{
	for (size_t i = 0; i < sample->n_label; i++) {
		const Pprof__Label *l = sample->label[i];
		if (!is_text(p, l->key) || !is_text(p, l->str) || !is_text(p, l->num_unit))
			return false;
	}
	return true;
}

/* --- what refers to what --------------------------------------------------------------------------- */

static const char *look_at_locations(const struct source *s)
{
	for (size_t i = 0; i < s->p->n_location; i++) {
		const Pprof__Location *l = s->p->location[i];
		for (size_t k = 0; k < l->n_line; k++)
			if (!places_find(&s->function_places, l->line[k]->function_id))
				return "a line in it has no function";
	}
	return NULL;
}

static const char *look_at_samples(const struct source *s)
{
	for (size_t i = 0; i < s->p->n_sample; i++) {
		const Pprof__Sample *sample = s->p->sample[i];
		if (sample->n_value != s->p->n_sample_type)
			return "a sample in it has more or fewer values than there are types";
		for (size_t k = 0; k < sample->n_location_id; k++)
			if (!places_find(&s->location_places, sample->location_id[k]))
				return "a sample in it has a location that is not there";
		if (!labels_are_sound(s->p, sample))
			return "a label in it refers to a string that is not there";
	}
	return NULL;
}

static bool make_arrays(struct source *s)
{
	s->string = calloc(s->p->n_string_table + 1, sizeof *s->string);
	s->mapping = calloc(s->p->n_mapping + 1, sizeof *s->mapping);
	s->function = calloc(s->p->n_function + 1, sizeof *s->function);
	s->location = calloc(s->p->n_location + 1, sizeof *s->location);
	return s->string && s->mapping && s->function && s->location;
}

const char *source_open(struct source *s, const Pprof__Profile *p)
{
	*s = (struct source){.p = p};
	if (!head_is_sound(p))
		return "it refers to a string that is not there";
	const char *wrong = index_ids(s);
	if (!wrong)
		wrong = look_at_locations(s);
	if (!wrong)
		wrong = look_at_samples(s);
	if (!wrong && !make_arrays(s))
		wrong = "there is no memory for it";
	return wrong;
}

void source_close(struct source *s)
{
	places_free(&s->mapping_places);
	places_free(&s->function_places);
	places_free(&s->location_places);
	free(s->string);
	free(s->mapping);
	free(s->function);
	free(s->location);
}
