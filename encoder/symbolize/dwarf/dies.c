/* dies.c - find all addresses of a unit in one walk through its tree.
 *
 * Runs in: pprofshim-symbolize.
 *
 * The walk keeps a stack in memory, so that a deep tree (hostile, or of generated code) costs no call stack. libdw
 * finds the sibling of an entry by reading all its children again, unless there is a DW_AT_sibling (clang writes none).
 * So after the children were walked, the parent's sibling is read where they ended: dwarf_siblingof leaves that address
 * in its result.
 *
 * As in llvm-symbolizer, the innermost entry that covers an address wins; of several, the last one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/dies.h"
#include "encoder/bytes/sort.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 512 };

struct level {
	Dwarf_Die die;
	int tag;
};

struct walk {
	struct hit *hits;
	size_t count;
	struct region *r;
	struct budget *budget;
	enum dies_result result;
	bool plain_classes;               /* C and C++: a class at file level holds declarations alone */
	const unsigned char *begin, *end; /* the unit's bytes */
	size_t depth;                     /* of the current entry, level[depth - 1] */
	struct level level[DEPTH_MOST];
};

static bool fail(struct walk *w, enum dies_result why)
{
	w->result = why;
	return false;
}

static struct level *here(struct walk *w)
{
	return &w->level[w->depth - 1];
}

/* --- what covers the addresses ---------------------------------------------------------------- */

/* Make the chain of the current entry: itself and the calls that it is inlined in, up to its function. */
static const struct chain *make_chain(struct walk *w)
{
	size_t n = 0;
	for (size_t d = w->depth; d-- > 0;) {
		n += w->level[d].tag == DW_TAG_subprogram || w->level[d].tag == DW_TAG_inlined_subroutine;
		if (w->level[d].tag == DW_TAG_subprogram)
			break;
	}
	struct chain *c = region_alloc(w->r, sizeof *c + n * sizeof *c->die);
	if (!c)
		return NULL;
	for (size_t d = w->depth; d-- > 0 && c->count < n;)
		if (w->level[d].tag == DW_TAG_subprogram || w->level[d].tag == DW_TAG_inlined_subroutine)
			c->die[c->count++] = w->level[d].die;
	return c;
}

/* Does the current entry cover any of the addresses? If so, note it with them. */
static bool covers(struct walk *w)
{
	const struct chain *chain = NULL;
	Dwarf_Addr base, start, end;
	for (ptrdiff_t at = 0; (at = dwarf_ranges(&here(w)->die, at, &base, &start, &end)) > 0;) {
		if (!budget_take(&w->budget->ranges))
			return fail(w, DIES_TOO_MUCH);
		size_t i = sort_first_from(w->hits, w->count, sizeof *w->hits, start);
		if (i == w->count || w->hits[i].address >= end)
			continue;
		if (!chain && !(chain = make_chain(w)))
			return fail(w, DIES_NO_MEMORY);
		for (; i < w->count && w->hits[i].address < end && budget_take(&w->budget->ranges); i++)
			w->hits[i].chain = chain;
	}
	return chain;
}

uint64_t dies_call_end(Dwarf_Die *call)
{
	Dwarf_Attribute attr;
	Dwarf_Addr end;
	bool is_old = dwarf_tag(call) == DW_TAG_GNU_call_site; /* DWARF 4 */
	return dwarf_formaddr(dwarf_attr(call, is_old ? DW_AT_low_pc : DW_AT_call_return_pc, &attr), &end) == 0 ? end
	                                                                                                        : 0;
}

/* The current entry is a call: note it with the address before its end. */
static void note_call(struct walk *w)
{
	uint64_t end = dies_call_end(&here(w)->die);
	for (size_t i = sort_first_from(w->hits, w->count, sizeof *w->hits, end - 1);
	     end && i < w->count && w->hits[i].address == end - 1; i++) {
		w->hits[i].call = here(w)->die;
		w->hits[i].has_call = true;
	}
}

/* --- the walk --------------------------------------------------------------------------------- */

static bool is_in_function(const struct walk *w)
{
	for (size_t d = w->depth - 1; d-- > 0;)
		if (w->level[d].tag == DW_TAG_subprogram)
			return true;
	return false;
}

/* Look at the current entry. True: there may be code below it. */
static bool visit(struct walk *w)
{
	switch (here(w)->tag) {
	case DW_TAG_inlined_subroutine: return covers(w);
	case DW_TAG_subprogram:
		/* even if it covers none, a nested function or a local class's method below it may */
		return covers(w) || !dwarf_hasattr(&here(w)->die, DW_AT_declaration);
	case DW_TAG_class_type:
	case DW_TAG_interface_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type: return !w->plain_classes || is_in_function(w);
	case DW_TAG_call_site:
	case DW_TAG_GNU_call_site: note_call(w); return false;
	case DW_TAG_lexical_block:
	case DW_TAG_try_block:
	case DW_TAG_catch_block:
	case DW_TAG_with_stmt:
	case DW_TAG_namespace:
	case DW_TAG_module: return true;
	default: return false;
	}
}

static bool set_here(struct walk *w, const Dwarf_Die *die)
{
	const unsigned char *at = die->addr;
	if (at < w->begin || at >= w->end)
		return fail(w, DIES_DAMAGED);
	struct level *l = here(w);
	l->die = *die;
	l->tag = dwarf_tag(&l->die);
	return l->tag != DW_TAG_invalid || fail(w, DIES_DAMAGED);
}

static bool go_to_child(struct walk *w)
{
	Dwarf_Die child;
	if (w->depth == DEPTH_MOST || dwarf_child(&here(w)->die, &child) != 0)
		return false;
	w->depth++;
	return set_here(w, &child);
}

/* Go to the sibling of the current entry, or of the nearest parent that has one. */
static bool go_on(struct walk *w)
{
	Dwarf_Die next = {0};
	for (const unsigned char *ended = NULL; w->depth; w->depth--) {
		if (!ended) {
			memset(&next, 0, sizeof next);
			int r = dwarf_siblingof(&here(w)->die, &next);
			if (r < 0)
				return fail(w, DIES_DAMAGED);
			if (r == 0)
				return (const unsigned char *)next.addr > (const unsigned char *)here(w)->die.addr
				               ? set_here(w, &next)
				               : fail(w, DIES_DAMAGED);
			ended = next.addr;
		} else if (++ended < w->end && *ended) {
			next = here(w)->die;
			next.addr = (void *)(uintptr_t)ended;
			next.abbrev = NULL;
			return set_here(w, &next);
		}
		if (ended && (ended <= (const unsigned char *)here(w)->die.addr || ended >= w->end || *ended))
			ended = NULL;
	}
	return false;
}

static void walk(struct walk *w)
{
	while (w->depth && w->result == DIES_DONE) {
		if (!budget_take(&w->budget->dies))
			w->result = DIES_TOO_MUCH;
		else if (!(visit(w) && w->result == DIES_DONE && go_to_child(w)) && w->result == DIES_DONE)
			go_on(w);
	}
}

static bool find_bounds(struct walk *w, Dwarf_Die *unit)
{
	Dwarf_Off at = dwarf_dieoffset(unit), start = at - dwarf_cuoffset(unit), next;
	size_t header;
	if (dwarf_next_unit(dwarf_cu_getdwarf(unit->cu), start, &next, &header, NULL, NULL, NULL, NULL, NULL, NULL) !=
	    0)
		return false;
	if (next <= at)
		return false;
	w->begin = unit->addr;
	w->end = w->begin + (next - at);
	return true;
}

static bool has_plain_classes(Dwarf_Die *unit)
{
	switch (dwarf_srclang(unit)) {
	case DW_LANG_C:
	case DW_LANG_C89:
	case DW_LANG_C99:
	case DW_LANG_C11:
	case DW_LANG_C_plus_plus:
	case DW_LANG_C_plus_plus_03:
	case DW_LANG_C_plus_plus_11:
	case DW_LANG_C_plus_plus_14: return true;
	default: return false;
	}
}

enum dies_result dies_find(Dwarf_Die *unit, struct hit *hits, size_t count, struct region *r, struct budget *budget)
{
	Dwarf_Die child;
	struct walk *w = region_alloc(r, sizeof *w);
	if (!w)
		return DIES_NO_MEMORY;
	*w = (struct walk){.hits = hits, .count = count, .r = r, .budget = budget};
	w->plain_classes = has_plain_classes(unit);
	if (!find_bounds(w, unit))
		return DIES_DAMAGED;
	if (dwarf_child(unit, &child) != 0)
		return DIES_DONE;
	w->depth = 1;
	if (set_here(w, &child))
		walk(w);
	return w->result;
}
