/* chosen.c - which frames and samples of a profile a report shows.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/chosen.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const Pprof__Function *function_of(const Pprof__Profile *p, const Pprof__Line *l)
{
	return p->function[l->function_id - 1];
}

/* --- frames that are dropped ----------------------------------------------------------------------- */

enum fate { KEPT, CUT_BENEATH, CUT };

struct dropping {
	Pprof__Profile *p;
	struct pattern drop, keep;
	signed char *function; /* 1: to be dropped, -1: not, 0: nobody has asked */
	enum fate *location;
};

/* The name up to its parameters, whose parenthesis is none of C++'s own names. */
static char *without_parameters(const char *name)
{
	static const char *const reserved[] = {"(anonymous namespace)", "operator()"};
	char *copy = strdup(*name == '.' ? name + 1 : name);
	for (char *at = copy; at && *at; at++) {
		size_t skip = 0;
		for (size_t i = 0; i < 2; i++)
			if (strncmp(at, reserved[i], strlen(reserved[i])) == 0)
				skip = strlen(reserved[i]);
		if (!skip && *at == '(')
			*at = '\0';
		at += skip ? skip - 1 : 0;
		if (!*at)
			break;
	}
	return copy;
}

static bool is_dropped(struct dropping *d, uint64_t function_id)
{
	signed char *known = &d->function[function_id - 1];
	if (!*known) {
		char *name = without_parameters(d->p->string_table[d->p->function[function_id - 1]->name]);
		bool drop = name && *name && pattern_matches(&d->drop, name) && !pattern_matches(&d->keep, name);
		*known = drop ? 1 : -1;
		free(name);
	}
	return *known > 0;
}

static void cut_lines(Pprof__Location *l, size_t inner)
{
	for (size_t i = 0; i < inner; i++)
		pprof__line__free_unpacked(l->line[i], NULL);
	l->n_line -= inner;
	memmove(l->line, l->line + inner, l->n_line * sizeof *l->line);
}

static enum fate fate_of(struct dropping *d, Pprof__Location *l)
{
	size_t i = l->n_line;
	while (i && !is_dropped(d, l->line[i - 1]->function_id))
		i--;
	if (i == 0)
		return KEPT;
	if (i == l->n_line)
		return CUT;
	cut_lines(l, i);
	return CUT_BENEATH;
}

/* From the root inwards; what comes before the first frame that is kept stays, or nothing would be left. */
static void cut_stack(const struct dropping *d, Pprof__Sample *s)
{
	bool seen_kept = false;
	for (size_t i = s->n_location_id; i-- > 0;) {
		enum fate fate = d->location[s->location_id[i] - 1];
		seen_kept |= fate == KEPT;
		if (fate == KEPT || !seen_kept)
			continue;
		size_t inner = fate == CUT ? i + 1 : i;
		s->n_location_id -= inner;
		memmove(s->location_id, s->location_id + inner, s->n_location_id * sizeof *s->location_id);
		return;
	}
}

static void drop(struct dropping *d)
{
	const char *keep = d->p->string_table[d->p->keep_frames];
	if (*keep && !pattern_set(&d->keep, keep, true))
		return;
	for (size_t i = 0; i < d->p->n_location; i++)
		d->location[i] = fate_of(d, d->p->location[i]);
	for (size_t i = 0; i < d->p->n_sample; i++)
		cut_stack(d, d->p->sample[i]);
}

void report_drop_frames(Pprof__Profile *p)
{
	struct dropping d = {.p = p};
	const char *expression = p->string_table[p->drop_frames];
	if (!*expression || !pattern_set(&d.drop, expression, true))
		return;
	d.function = calloc(p->n_function + 1, 1);
	d.location = calloc(p->n_location + 1, sizeof *d.location);
	if (d.function && d.location)
		drop(&d);
	free(d.function);
	free(d.location);
	pattern_free(&d.drop);
	pattern_free(&d.keep);
}

/* --- samples that are left out --------------------------------------------------------------------- */

static bool location_matches(const Pprof__Profile *p, const Pprof__Location *l, const struct pattern *x)
{
	for (size_t i = 0; i < l->n_line; i++) {
		const Pprof__Function *f = function_of(p, l->line[i]);
		if (pattern_matches(x, p->string_table[f->name]) || pattern_matches(x, p->string_table[f->filename]))
			return true;
	}
	return l->mapping_id && pattern_matches(x, p->string_table[p->mapping[l->mapping_id - 1]->filename]);
}

enum mark { NEITHER, FOCUSED, IGNORED };

static bool is_wanted(const Pprof__Sample *s, const enum mark *location)
{
	bool focused = false;
	for (size_t i = 0; i < s->n_location_id; i++) {
		if (location[s->location_id[i] - 1] == IGNORED)
			return false;
		focused |= location[s->location_id[i] - 1] == FOCUSED;
	}
	return focused;
}

static void keep_wanted(Pprof__Profile *p, const enum mark *location)
{
	size_t kept = 0;
	for (size_t i = 0; i < p->n_sample; i++)
		if (is_wanted(p->sample[i], location))
			p->sample[kept++] = p->sample[i];
		else
			pprof__sample__free_unpacked(p->sample[i], NULL);
	p->n_sample = kept;
}

void report_filter(Pprof__Profile *p, const struct pattern *focus, const struct pattern *ignore, bool *focused,
                   bool *ignored)
{
	enum mark *location = calloc(p->n_location + 1, sizeof *location);
	*focused = *ignored = false;
	if (!location)
		return;
	for (size_t i = 0; i < p->n_location; i++) {
		if (location_matches(p, p->location[i], ignore))
			location[i] = IGNORED, *ignored = true;
		else if (!focus->is_set || location_matches(p, p->location[i], focus))
			location[i] = FOCUSED, *focused = true;
	}
	if (focus->is_set || ignore->is_set)
		keep_wanted(p, location);
	free(location);
}
