/* ways.c - the functions that are certain to have run between a call and the function that runs in its place.
 *
 * Runs in: listener and pprofshim-symbolize. The jumps come from DWARF, and are not trusted.
 *
 * The jumps that may follow a call are a graph (encoder/symbolize/dwarf/jumps.c). Certain are the functions that all of
 * its ways to the running function pass: without one of them, none would arrive. gdb shows what all ways have in common
 * at their beginning and end (its manual, "Tail Call Frames"); this is the same, and what they have in common between.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/ways.h"

#include <string.h>

const char *const ways_allocators[] = {"malloc",
                                       "calloc",
                                       "realloc",
                                       "reallocarray",
                                       "memalign",
                                       "aligned_alloc",
                                       "posix_memalign",
                                       "valloc",
                                       "pvalloc",
                                       "_Znwm",
                                       "_Znam",
                                       "_ZnwmSt11align_val_t",
                                       "_ZnamSt11align_val_t",
                                       "_ZnwmRKSt9nothrow_t",
                                       "_ZnamRKSt9nothrow_t",
                                       "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                       "_ZnamSt11align_val_tRKSt9nothrow_t",
                                       NULL};
const char *const ways_creators[] = {"pthread_create", "thrd_create", NULL};
/* --- names ------------------------------------------------------------------------------------ */

static void skip(struct span *s, const char *prefix)
{
	size_t len = strlen(prefix);
	if (span_starts(*s, prefix)) {
		s->at += len;
		s->len -= len;
	}
}

static void skip_lines(struct span *s)
{
	while (s->len > 1 && s->at[0] == '_' && !span_starts(*s, "_Z"))
		skip(s, "_");
}

/* A function may have several names (__GI___libc_malloc is malloc), and its parts have names of their own (f.cold). */
static struct span plain(struct span name)
{
	skip_lines(&name);
	skip(&name, "GI_");
	skip_lines(&name);
	skip(&name, "libc_");
	for (size_t i = 1; i < name.len; i++)
		if (name.at[i] == '.' || name.at[i] == '@')
			name.len = i;
	return name;
}

static bool is_same(struct span a, struct span b)
{
	a = plain(a);
	b = plain(b);
	return a.len && a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool is_named(const struct way_end *end, struct span name)
{
	if (!end->names)
		return is_same(end->name, name);
	for (const char *const *its = end->names; *its; its++)
		if (is_same(span_of(*its), name))
			return true;
	return false;
}

/* Does a function begin where the running one does, or further on in it? */
static bool is_within(const struct way_end *end, uint64_t entry)
{
	return end->is_near && entry && entry >= end->start && entry <= end->address;
}

bool ways_is_other(const struct way_end *end, struct span name, uint64_t to)
{
	return !is_named(end, name) && !is_within(end, to);
}

/* --- the graph -------------------------------------------------------------------------------- */

struct node {
	uint64_t entry; /* 0: it is in another file, or not known */
	struct span name;
	bool is_end; /* it is the function that runs, or may jump to it unseen */
};

struct graph {
	size_t nodes, jumps;
	struct node node[WAYS_MOST]; /* the function that was called is the first */
	struct {
		size_t from, to;
		uint64_t at;
	} jump[WAYS_JUMPS_MOST];
};

static size_t number_of(struct graph *g, uint64_t entry, struct span name)
{
	size_t i = 0;
	for (; i < g->nodes; i++)
		if (entry ? g->node[i].entry == entry
		          : !g->node[i].entry && g->node[i].name.len == name.len &&
		                    memcmp(g->node[i].name.at, name.at, name.len) == 0)
			return i;
	if (i < WAYS_MOST)
		g->node[g->nodes++] = (struct node){entry, name, false};
	return i;
}

static bool is_end(const struct way_end *end, const struct node *node)
{
	return !node->entry || is_within(end, node->entry) || (node->name.len && is_named(end, node->name));
}

/* False: it is no graph, or the function that was called is the one that runs. */
static bool make_graph(struct graph *g, uint64_t first, const struct way_jump *jump, size_t jumps,
                       const struct way_end *end)
{
	*g = (struct graph){0};
	if (!first || jumps > WAYS_JUMPS_MOST)
		return false;
	number_of(g, first, (struct span){0});
	for (const struct way_jump *j = jump; g->jumps < jumps; j++) {
		size_t from = number_of(g, j->from, (struct span){0});
		size_t to = number_of(g, j->to, j->name);
		if (from >= WAYS_MOST || to >= WAYS_MOST)
			return false;
		g->jump[g->jumps].from = from;
		g->jump[g->jumps].to = to;
		g->jump[g->jumps++].at = j->at;
	}
	for (size_t i = 0; i < g->nodes; i++)
		g->node[i].is_end = is_end(end, &g->node[i]);
	return !g->node[0].is_end;
}

/* Number the nodes by how many jumps lead there from the first one, none of them through `without`; 0: none do.
 * Returns whether they reach an end. */
static bool measure(const struct graph *g, size_t first, size_t without, size_t distance[WAYS_MOST])
{
	bool more = true, arrives = g->node[first].is_end;
	memset(distance, 0, WAYS_MOST * sizeof *distance);
	distance[first] = 1;
	while (more) {
		more = false;
		for (size_t i = 0; i < g->jumps; i++) {
			size_t from = g->jump[i].from, to = g->jump[i].to;
			if (!distance[from] || from == without || to == without || g->node[from].is_end ||
			    (distance[to] && distance[to] <= distance[from] + 1))
				continue;
			distance[to] = distance[from] + 1;
			arrives |= g->node[to].is_end;
			more = true;
		}
	}
	return arrives;
}

/* Returns the address within the one jump of a function that leads on; if there are several, the function's first. */
static uint64_t address_of(const struct graph *g, size_t node)
{
	size_t distance[WAYS_MOST], ways = 0;
	uint64_t at = 0;
	for (size_t i = 0; i < g->jumps; i++)
		if (g->jump[i].from == node && measure(g, g->jump[i].to, node, distance)) {
			ways++;
			at = g->jump[i].at;
		}
	return ways == 1 && at ? at : g->node[node].entry;
}

size_t ways_find(uint64_t first, const struct way_jump *jump, size_t jumps, const struct way_end *end,
                 uint64_t list[WAYS_MOST], enum ways_doubt *doubt)
{
	struct graph g;
	size_t distance[WAYS_MOST], unused[WAYS_MOST], count = 0;
	*doubt = WAYS_CERTAIN;
	if (!make_graph(&g, first, jump, jumps, end))
		return 0;
	if (!measure(&g, 0, WAYS_MOST, distance)) {
		*doubt = WAYS_UNKNOWN;
		list[0] = first;
		return 1;
	}
	for (size_t d = WAYS_MOST; d > 0; d--)
		for (size_t i = 0; i < g.nodes; i++) {
			if (distance[i] != d || !g.node[i].entry || g.node[i].is_end)
				continue;
			if (i == 0 || !measure(&g, 0, i, unused))
				list[count++] = address_of(&g, i);
			else if (measure(&g, i, WAYS_MOST, unused))
				*doubt = WAYS_AMBIGUOUS;
		}
	return count;
}
