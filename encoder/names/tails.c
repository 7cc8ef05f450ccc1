/* tails.c - frames of functions whose last act was a jump to another function, so that no stack shows them.
 *
 * Runs in: listener. Memory of the request's region. The graphs come from the helper, and are not trusted.
 *
 * Where a call names another function than the one that runs in its place, that function was called, and jumped on: it
 * is certain. (clang does not tell of all jumps, and without debug information none is known.) The jumps that may
 * follow are a graph (encoder/symbolize/dwarf/jumps.c). Certain are the functions that all of its ways to the running
 * function pass: without one of them, none would arrive. gdb shows what all ways have in common at their beginning and
 * end (its manual, "Tail Call Frames"); this is the same, and what they have in common between.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/tails.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/names/cache.h"
#include "encoder/symbolize/protocol.h"
#include "shim/base/pace.h"

enum {
	NODES_MOST = SYMBOLIZE_JUMPS_MAX + 1,
	INSERTED_MOST = 64, /* frames of a stack */
};

/* The function that runs in place of the one that was called. */
struct callee {
	const struct module *module; /* NULL: it is one of `names` */
	const char *const *names;
	uint64_t start, address; /* as the file's headers count */
	struct span name;        /* as linked */
};

static const char *const allocators[] = {"malloc",
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
static const char *const creators[] = {"pthread_create", "thrd_create", NULL};
static const char *const *const leaf_names[] = {
	[TAILS_NOTHING] = NULL, [TAILS_ALLOCATOR] = allocators, [TAILS_CREATOR] = creators};

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

static bool is_named(const struct callee *c, struct span name)
{
	if (c->module)
		return is_same(c->name, name);
	for (const char *const *its = c->names; *its; its++)
		if (is_same(span_of(*its), name))
			return true;
	return false;
}

/* --- what a call names, and what runs ------------------------------------------------------------- */

static const struct cached *find(struct site site, uint64_t mark)
{
	struct object *o = site.module ? cache_object(site.module) : NULL;
	return o ? cache_find(o, names_file_address(site) | mark) : NULL;
}

/* Find what runs below frame i. False: it has no name, or it is unknown what the leaf called. */
static bool find_callee(const struct names *n, const struct stack *s, size_t i, enum tails_leaf leaf, struct callee *to)
{
	*to = (struct callee){.names = leaf_names[leaf]};
	if (i == 0)
		return to->names;
	struct site site = names_site(n, s->pc[i - 1], s->place);
	const struct cached *c = find(site, 0);
	if (!c || !c->count)
		return false;
	to->module = site.module;
	to->start = c->start;
	to->address = names_file_address(site);
	to->name = c->frame[c->count - 1].system;
	return true;
}

/* Does a function begin where the running one does, or further on in it? */
static bool is_within(const struct callee *c, uint64_t entry)
{
	return entry && entry >= c->start && entry <= c->address;
}

/* Does frame i call another function than the one that runs below it? */
static bool is_other(const struct names *n, const struct stack *s, size_t i, enum tails_leaf leaf, struct site *site,
                     struct callee *callee)
{
	*site = names_site(n, s->pc[i], s->place);
	const struct cached *c = find(*site, 0);
	if (!c || !c->call || !find_callee(n, s, i, leaf, callee) || is_named(callee, c->call->name))
		return false;
	return callee->module != site->module || !is_within(callee, c->call->to);
}

/* --- the graph -------------------------------------------------------------------------------- */

struct node {
	uint64_t entry; /* 0: it is in another file, or not known */
	struct span name;
	bool is_end; /* it is the function that runs, or may jump to it unseen */
};

struct graph {
	size_t nodes, jumps;
	struct node node[NODES_MOST]; /* the function that was called is the first */
	struct {
		size_t from, to;
		uint64_t at;
	} jump[SYMBOLIZE_JUMPS_MAX];
};

static size_t number_of(struct graph *g, uint64_t entry, struct span name)
{
	size_t i = 0;
	for (; i < g->nodes; i++)
		if (entry ? g->node[i].entry == entry
		          : !g->node[i].entry && g->node[i].name.len == name.len &&
		                    memcmp(g->node[i].name.at, name.at, name.len) == 0)
			return i;
	if (i < NODES_MOST)
		g->node[g->nodes++] = (struct node){entry, name, false};
	return i;
}

static bool is_callee(const struct callee *c, const struct module *m, const struct node *node)
{
	if (c->module == m && is_within(c, node->entry))
		return true;
	return node->name.len && is_named(c, node->name);
}

/* False: it is no graph, or the function that was called is the one that runs. */
static bool make_graph(struct graph *g, const struct cached *c, const struct callee *callee, const struct module *m)
{
	*g = (struct graph){0};
	size_t jumps = c && c->call ? c->call->jumps : 0;
	if (!c || !c->start || jumps > SYMBOLIZE_JUMPS_MAX)
		return false;
	number_of(g, c->start, (struct span){0});
	for (const struct jump *j = jumps ? c->call->jump : NULL; g->jumps < jumps; j++) {
		size_t from = number_of(g, j->from, (struct span){0});
		size_t to = number_of(g, j->to, j->name);
		if (from >= NODES_MOST || to >= NODES_MOST)
			return false;
		g->jump[g->jumps].from = from;
		g->jump[g->jumps].to = to;
		g->jump[g->jumps++].at = j->at;
	}
	for (size_t i = 0; i < g->nodes; i++)
		g->node[i].is_end = !g->node[i].entry || is_callee(callee, m, &g->node[i]);
	return !g->node[0].is_end;
}

/* Number the nodes by how many jumps lead there from the first one, none of them through `without`; 0: none do.
 * Returns whether they reach an end. */
static bool measure(const struct graph *g, size_t first, size_t without, size_t distance[NODES_MOST])
{
	bool more = true, arrives = g->node[first].is_end;
	memset(distance, 0, NODES_MOST * sizeof *distance);
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
	size_t distance[NODES_MOST], ways = 0;
	uint64_t at = 0;
	for (size_t i = 0; i < g->jumps; i++)
		if (g->jump[i].from == node && measure(g, g->jump[i].to, node, distance)) {
			ways++;
			at = g->jump[i].at;
		}
	return ways == 1 && at ? at : g->node[node].entry;
}

/* List the addresses of the certain functions, the one that was called last. Returns their number. */
static size_t list_certain(const struct graph *g, uint64_t *list)
{
	size_t distance[NODES_MOST], unused[NODES_MOST], count = 0;
	if (!measure(g, 0, NODES_MOST, distance)) {
		list[0] = g->node[0].entry;
		return 1;
	}
	for (size_t d = NODES_MOST; d > 0; d--)
		for (size_t i = 0; i < g->nodes; i++)
			if (distance[i] == d && g->node[i].entry && !g->node[i].is_end &&
			    (i == 0 || !measure(g, 0, i, unused)))
				list[count++] = address_of(g, i);
	return count;
}

/* --- stacks ----------------------------------------------------------------------------------- */

/* Write the frames that belong below frame i. Returns their number. */
static size_t make_frames(const struct names *n, const struct stack *s, size_t i, enum tails_leaf leaf, uintptr_t *pc)
{
	struct site site;
	struct callee callee;
	struct graph g;
	uint64_t list[NODES_MOST];
	if (!is_other(n, s, i, leaf, &site, &callee) || !make_graph(&g, find(site, CACHE_CALL), &callee, site.module))
		return 0;
	size_t count = list_certain(&g, list);
	for (size_t k = 0; k < count; k++)
		pc[k] = site.address - names_file_address(site) + list[k];
	return count;
}

/* Returns the stack with its lacking frames; NULL: it lacks none, or there is no memory. */
static const struct stack *complete(struct names *n, const struct stack *s, enum tails_leaf leaf)
{
	struct region_mark mark = region_mark(n->region);
	struct stack *more = region_alloc(n->region, sizeof *s + (s->depth + INSERTED_MOST) * sizeof *s->pc);
	uintptr_t pc[NODES_MOST];
	uint32_t inserted = 0;
	if (!more)
		return NULL;
	more->place = s->place;
	for (size_t i = 0; i < s->depth; i++) {
		size_t count = make_frames(n, s, i, leaf, pc);
		for (size_t k = 0; k < count && inserted < INSERTED_MOST; k++, inserted++)
			more->pc[more->depth++] = pc[k];
		more->pc[more->depth++] = s->pc[i];
	}
	if (inserted)
		return more;
	region_rewind(n->region, mark);
	return NULL;
}

/* List the calls of other functions than those that run. Returns their number; `sites` may be NULL: count them alone.
 */
static size_t list_calls(const struct names *n, const struct stack **stacks, size_t count, enum tails_leaf leaf,
                         struct site *sites)
{
	struct callee callee;
	struct site site;
	size_t calls = 0;
	for (size_t i = 0; i < count && !pace(); i++)
		for (size_t k = 0; stacks[i] && k < stacks[i]->depth; k++) {
			if (!is_other(n, stacks[i], k, leaf, &site, &callee))
				continue;
			if (sites)
				sites[calls] = site;
			calls++;
		}
	return calls;
}

/* --- all together ----------------------------------------------------------------------------- */

/* An address as a stack has it. */
struct place {
	uintptr_t pc, place;
};

/* Number each address of the stacks once. False: no memory. */
static bool find_places(struct names *n, struct intern *places, const struct stack **stacks, size_t count)
{
	struct place *spare = NULL;
	bool is_new;
	for (size_t i = 0; i < count && !pace(); i++)
		for (size_t k = 0; stacks[i] && k < stacks[i]->depth; k++) {
			if (!spare && !(spare = region_alloc(n->region, sizeof *spare)))
				return false;
			*spare = (struct place){stacks[i]->pc[k], stacks[i]->place};
			if (intern(places, n->region, (struct span){(const char *)spare, sizeof *spare}, &is_new) < 0)
				return false;
			spare = is_new ? NULL : spare;
		}
	return true;
}

/* Look up what the addresses are, and what is called there. Only the cache keeps it. */
static int prepare(struct names *n, const struct stack **stacks, size_t count, struct patience *p)
{
	struct region_mark mark = region_mark(n->region);
	struct intern places = {0};
	if (!find_places(n, &places, stacks, count))
		return -ENOMEM;
	struct site *sites = region_alloc(n->region, places.count * sizeof *sites + 1);
	size_t in_objects = 0;
	for (size_t i = 0; sites && i < places.cap; i++) {
		const struct place *its = (const struct place *)(const void *)places.entry[i].key.at;
		if (!places.entry[i].number_plus_1)
			continue;
		sites[in_objects] = names_site(n, its->pc, its->place);
		in_objects += sites[in_objects].module != NULL;
	}
	int r = sites ? names_prepare(n, sites, in_objects, p) : -ENOMEM;
	region_rewind(n->region, mark);
	return r;
}

int tails_insert(struct names *n, const struct stack **stacks, size_t count, enum tails_leaf leaf, struct patience *p)
{
	int r = p ? prepare(n, stacks, count, p) : 0;
	size_t calls = r == 0 ? list_calls(n, stacks, count, leaf, NULL) : 0;
	if (!calls)
		return r;
	struct site *sites = region_alloc(n->region, calls * sizeof *sites);
	if (!sites)
		return -ENOMEM;
	list_calls(n, stacks, count, leaf, sites);
	r = names_prepare_calls(n, sites, calls, p);
	for (size_t i = 0; r == 0 && i < count && !pace(); i++) {
		const struct stack *more = stacks[i] ? complete(n, stacks[i], leaf) : NULL;
		stacks[i] = more ? more : stacks[i];
	}
	return r;
}
