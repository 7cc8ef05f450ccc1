/* tails.c - frames of functions whose last act was a jump to another function, so that no stack shows them.
 *
 * Runs in: listener. Memory of the request's region. The graphs come from the helper, and are not trusted.
 *
 * Where a call names another function than the one that runs in its place, that function was called, and jumped on: it
 * is certain. (clang does not tell of all jumps, and without debug information none is known.) What ran between is
 * found in ways.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/tails.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/names/cache.h"
#include "encoder/names/ways.h"
#include "shim/base/pace.h"

enum { INSERTED_MOST = 64 }; /* frames of a stack */

static const char *const *const leaf_names[] = {
	[TAILS_NOTHING] = NULL, [TAILS_ALLOCATOR] = ways_allocators, [TAILS_CREATOR] = ways_creators};

/* --- what a call names, and what runs ------------------------------------------------------------- */

static const struct cached *find(struct site site, uint64_t mark)
{
	struct object *o = site.module ? cache_object(site.module) : NULL;
	return o ? cache_find(o, names_file_address(site) | mark) : NULL;
}

/* Find what runs below frame i. False: it has no name, or it is unknown what the leaf called. */
static bool find_end(const struct names *n, const struct tails_stack *t, size_t i, const struct module *caller,
                     struct way_end *end)
{
	*end = (struct way_end){.names = leaf_names[t->leaf]};
	if (i == 0)
		return end->names;
	struct site site = names_site(n, t->stack->pc[i - 1], t->stack->place);
	const struct cached *c = find(site, 0);
	if (!c || !c->count)
		return false;
	*end = (struct way_end){.is_near = site.module == caller,
	                        .start = c->start,
	                        .address = names_file_address(site),
	                        .name = c->frame[c->count - 1].system};
	return true;
}

/* Does frame i call another function than the one that runs below it? */
static bool is_other(const struct names *n, const struct tails_stack *t, size_t i, struct site *site,
                     struct way_end *end)
{
	*site = names_site(n, t->stack->pc[i], t->stack->place);
	const struct cached *c = find(*site, 0);
	return c && c->call && find_end(n, t, i, site->module, end) && ways_is_other(end, c->call->name, c->call->to);
}

/* --- stacks ----------------------------------------------------------------------------------- */

static void note_doubt(struct names *n, enum ways_doubt doubt, struct site site)
{
	struct tails_doubts *all = &n->tails;
	struct span name = find(site, 0)->call->name;
	if (doubt == WAYS_AMBIGUOUS && !all->ambiguous++)
		all->ambiguous_first = name;
	if (doubt == WAYS_UNKNOWN && !all->unknown++)
		all->unknown_first = name;
}

/* Write the frames that belong below frame i. Returns their number. */
static size_t make_frames(struct names *n, const struct tails_stack *t, size_t i, uintptr_t *pc)
{
	struct site site;
	struct way_end end;
	uint64_t list[WAYS_MOST];
	enum ways_doubt doubt;
	if (!is_other(n, t, i, &site, &end))
		return 0;
	const struct cached *c = find(site, CACHE_CALL);
	size_t jumps = c && c->call ? c->call->jumps : 0;
	size_t count = c ? ways_find(c->start, jumps ? c->call->jump : NULL, jumps, &end, list, &doubt) : 0;
	for (size_t k = 0; k < count; k++)
		pc[k] = site.address - names_file_address(site) + list[k];
	if (count)
		note_doubt(n, doubt, site);
	return count;
}

/* Returns the stack with its lacking frames; NULL: it lacks none, or there is no memory. */
static const struct stack *complete(struct names *n, const struct tails_stack *t)
{
	const struct stack *s = t->stack;
	struct region_mark mark = region_mark(n->region);
	struct stack *more = region_alloc(n->region, sizeof *s + (s->depth + INSERTED_MOST) * sizeof *s->pc);
	uintptr_t pc[WAYS_MOST];
	uint32_t inserted = 0;
	if (!more)
		return NULL;
	more->place = s->place;
	for (size_t i = 0; i < s->depth; i++) {
		size_t count = make_frames(n, t, i, pc);
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
static size_t list_calls(const struct names *n, const struct tails_stack *stacks, size_t count, struct site *sites)
{
	struct way_end end;
	struct site site;
	size_t calls = 0;
	for (size_t i = 0; i < count && !pace(); i++)
		for (size_t k = 0; stacks[i].stack && k < stacks[i].stack->depth; k++) {
			if (!is_other(n, &stacks[i], k, &site, &end))
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
static bool find_places(struct names *n, struct intern *places, const struct tails_stack *stacks, size_t count)
{
	struct place *spare = NULL;
	bool is_new;
	for (size_t i = 0; i < count && !pace(); i++)
		for (size_t k = 0; stacks[i].stack && k < stacks[i].stack->depth; k++) {
			if (!spare && !(spare = region_alloc(n->region, sizeof *spare)))
				return false;
			*spare = (struct place){stacks[i].stack->pc[k], stacks[i].stack->place};
			if (intern(places, n->region, (struct span){(const char *)spare, sizeof *spare}, &is_new) < 0)
				return false;
			spare = is_new ? NULL : spare;
		}
	return true;
}

/* Look up what the addresses are, and what is called there. Only the cache keeps it. */
static int prepare(struct names *n, const struct tails_stack *stacks, size_t count, struct patience *p)
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

int tails_insert(struct names *n, struct tails_stack *stacks, size_t count, struct patience *p)
{
	int r = p ? prepare(n, stacks, count, p) : 0;
	size_t calls = r == 0 ? list_calls(n, stacks, count, NULL) : 0;
	if (!calls)
		return r;
	struct site *sites = region_alloc(n->region, calls * sizeof *sites);
	if (!sites)
		return -ENOMEM;
	list_calls(n, stacks, count, sites);
	r = names_prepare_calls(n, sites, calls, p);
	for (size_t i = 0; r == 0 && i < count && !pace(); i++) {
		const struct stack *more = stacks[i].stack ? complete(n, &stacks[i]) : NULL;
		stacks[i].stack = more ? more : stacks[i].stack;
	}
	return r;
}
