/* tree.c - stacks as a call tree, and as folded lines.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/report/nodes.h"
#include "encoder/report/print.h"
#include "encoder/report/recording.h"
#include "encoder/report/units.h"

enum { INDENT_MAX = 40 };

/* A sample as numbers of nodes from the root on. */
struct stack {
	uint32_t *node;
	size_t depth;
	int64_t value;
};

struct stacks {
	struct region region;
	struct nodes n;
	struct stack *at;
	size_t count;
};

static bool make_stack(struct stacks *s, const Pprof__Sample *sample, int64_t value)
{
	size_t depth = 0;
	for (size_t i = 0; i < sample->n_location_id; i++)
		depth += s->n.first[sample->location_id[i]] - s->n.first[sample->location_id[i] - 1];
	struct stack *k = &s->at[s->count];
	*k = (struct stack){region_alloc(&s->region, (depth + 1) * sizeof *k->node), 0, value};
	if (!k->node)
		return false;
	for (size_t i = sample->n_location_id; i-- > 0;) {
		size_t first = s->n.first[sample->location_id[i] - 1];
		for (size_t f = s->n.first[sample->location_id[i]]; f-- > first;)
			k->node[k->depth++] = s->n.of[f];
	}
	s->count++;
	return true;
}

static int by_path(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;
	for (size_t i = 0; i < x->depth && i < y->depth; i++)
		if (x->node[i] != y->node[i])
			return x->node[i] < y->node[i] ? -1 : 1;
	return (x->depth > y->depth) - (x->depth < y->depth);
}

/* All stacks, sorted such that those with a common beginning are neighbours. */
static bool make_stacks(struct stacks *s, const Pprof__Profile *p, size_t type, bool lines)
{
	if (!nodes_of_frames(&s->n, &s->region, p, lines))
		return false;
	s->at = region_alloc(&s->region, (p->n_sample + 1) * sizeof *s->at);
	bool all = s->at != NULL;
	for (size_t i = 0; all && i < p->n_sample; i++)
		if (p->sample[i]->value[type])
			all = make_stack(s, p->sample[i], p->sample[i]->value[type]);
	if (all)
		qsort(s->at, s->count, sizeof *s->at, by_path);
	return all;
}

/* --- folded ---------------------------------------------------------------------------------------- */

/* Semicolons part the frames, so a name has none. */
static void print_frame(FILE *out, const char *name)
{
	char *copy = strdup(name);
	for (char *at = copy; at && *at; at++)
		if (*at == ';')
			*at = ':';
	if (copy)
		print_name(out, copy, 0);
	free(copy);
}

static void print_stack(FILE *out, const struct stacks *s, const struct stack *k, int64_t value)
{
	for (size_t i = 0; i < k->depth; i++) {
		if (i)
			fputc(';', out);
		print_frame(out, s->n.row[k->node[i]].name);
	}
	fprintf(out, " %" PRId64 "\n", value);
}

bool print_folded(FILE *out, const Pprof__Profile *p, size_t type)
{
	struct stacks s = {0};
	bool all = make_stacks(&s, p, type, false);
	int64_t value = 0;
	for (size_t i = 0; all && i < s.count; i++) {
		value = recording_sum(value, s.at[i].value);
		if (i + 1 < s.count && by_path(&s.at[i], &s.at[i + 1]) == 0)
			continue;
		if (value && s.at[i].depth)
			print_stack(out, &s, &s.at[i], value);
		value = 0;
	}
	region_release(&s.region);
	return all;
}

/* --- tree ------------------------------------------------------------------------------------------ */

/* A branch: stacks from `first` on that begin alike. */
struct branch {
	size_t first, count;
	int64_t cum, flat;
};

struct printing {
	FILE *out;
	const struct stacks *s;
	const struct table_options *o;
	const char *of, *in;
	int64_t least;
	unsigned columns;
};

static struct branch branch_at(const struct stacks *s, size_t first, size_t end, size_t depth)
{
	struct branch b = {.first = first};
	uint32_t node = s->at[first].node[depth];
	for (size_t i = first; i < end && s->at[i].node[depth] == node; i++, b.count++) {
		b.cum = recording_sum(b.cum, s->at[i].value);
		if (s->at[i].depth == depth + 1)
			b.flat = recording_sum(b.flat, s->at[i].value);
	}
	return b;
}

static int by_cum(const void *a, const void *b)
{
	const struct branch *x = a, *y = b;
	int64_t p = units_size(x->cum), q = units_size(y->cum);
	if (p != q)
		return p > q ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

/* The branches at a depth of the stacks from `first` up to `end`, largest first. Returns an array to be freed. */
static struct branch *branches_of(const struct stacks *s, size_t first, size_t end, size_t depth, size_t *count)
{
	struct branch *b = calloc(end - first + 1, sizeof *b);
	*count = 0;
	while (b && first < end) {
		if (s->at[first].depth <= depth) {
			first++;
			continue;
		}
		b[*count] = branch_at(s, first, end, depth);
		first += b[(*count)++].count;
	}
	if (b)
		qsort(b, *count, sizeof *b, by_cum);
	return b;
}

/* A share in six columns: names are indented behind it. */
static const char *narrow_share(char to[UNITS_TEXT], int64_t value, int64_t total)
{
	const char *share = units_share(to, value, total);
	return strlen(share) <= 6 ? share : "<0.01%";
}

static void print_branch(const struct printing *t, const struct branch *b, size_t depth)
{
	enum { NUMBERS = 30 };
	char flat[UNITS_TEXT], cum[UNITS_TEXT], share[UNITS_TEXT];
	unsigned indent = depth < INDENT_MAX ? (unsigned)depth : INDENT_MAX, used = NUMBERS + 2 * indent;
	fprintf(t->out, "%10s %s %10s  %*s", units_label(cum, b->cum, t->of, t->in),
	        narrow_share(share, b->cum, t->o->total), b->flat ? units_label(flat, b->flat, t->of, t->in) : "",
	        (int)(2 * indent), "");
	print_name(t->out, t->s->n.row[t->s->at[b->first].node[depth]].name,
	           !t->columns              ? 0
	           : t->columns > used + 10 ? t->columns - used
	                                    : 10);
	fputc('\n', t->out);
}

/* What is still to be printed of one depth. */
struct level {
	struct branch *branch;
	size_t count, next;
};

/* Stacks may be of any depth, so there is a stack of levels, not of calls. */
static bool print_levels(const struct printing *t, struct level *level, size_t deepest)
{
	size_t depth = 0;
	level[0].branch = branches_of(t->s, 0, t->s->count, 0, &level[0].count);
	if (!level[0].branch)
		return false;
	for (;;) {
		struct level *l = &level[depth];
		if (l->next == l->count || units_size(l->branch[l->next].cum) < t->least) {
			free(l->branch);
			if (depth-- == 0)
				return true;
			continue;
		}
		const struct branch *b = &l->branch[l->next++];
		print_branch(t, b, depth);
		if (depth == deepest)
			continue;
		level[++depth] = (struct level){0};
		level[depth].branch = branches_of(t->s, b->first, b->first + b->count, depth, &level[depth].count);
		if (!level[depth].branch)
			return false;
	}
}

static size_t deepest_of(const struct stacks *s)
{
	size_t most = 0;
	for (size_t i = 0; i < s->count; i++)
		most = s->at[i].depth > most ? s->at[i].depth : most;
	return most;
}

bool print_tree(FILE *out, const Pprof__Profile *p, const struct table_options *o, unsigned columns)
{
	struct stacks s = {0};
	const char *of = p->string_table[p->sample_type[o->type]->unit];
	double part = (double)o->total * o->fraction;
	struct printing t = {.out = out, .s = &s, .o = o, .of = of, .least = (int64_t)part, .columns = columns};
	t.in = units_choose(of, units_size(o->total) / 200, units_size(o->total));
	bool all = make_stacks(&s, p, o->type, o->lines);
	struct level *level = all ? calloc(deepest_of(&s) + 2, sizeof *level) : NULL;
	all = level && print_levels(&t, level, deepest_of(&s));
	free(level);
	region_release(&s.region);
	return all;
}
