/* jumps.c - functions that end in a jump to another, from DWARF's entries of calls.
 *
 * Runs in: pprofshim-symbolize.
 *
 * A function whose last act is a call may jump there instead (a tail call): its frame is gone, and the stack shows its
 * caller alone. The caller's entry of the call (DW_TAG_call_site) names it, and its own entries name what it jumps to.
 * So all functions that may have been between are a graph, which begins at the callee that the caller names. The
 * listener, which has the stack, can tell which of them are certain. Formats: DWARF 5, 3.4; the same as extensions of
 * GNU in DWARF 4.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/jumps.h"

#include <dwarf.h>
#include <stdint.h>
#include <string.h>

#include "encoder/symbolize/dwarf/scopes.h"

enum { DEPTH_MOST = 64 };

/* A function of the graph. */
struct node {
	uint64_t entry;   /* 0: it is not in this file */
	const char *name; /* kept; "": where the jump goes is not known */
	Dwarf_Die die;    /* if it is in this file */
};

struct graph {
	struct dwarf *d;
	const struct functions *symbols;
	struct texts *texts;
	struct region *r;
	struct node node[JUMPS_MOST + 1];
	struct jump jump[JUMPS_MOST];
	size_t nodes, jumps;
	bool is_too_large;
};

static bool follow(Dwarf_Die *die, unsigned attribute, Dwarf_Die *to)
{
	Dwarf_Attribute attr;
	return dwarf_formref_die(dwarf_attr(die, attribute, &attr), to);
}

bool jumps_callee(Dwarf_Die *call, Dwarf_Die *callee)
{
	return follow(call, DW_AT_call_origin, callee) ||
	       (dwarf_tag(call) == DW_TAG_GNU_call_site && follow(call, DW_AT_abstract_origin, callee));
}

/* --- where a function is ---------------------------------------------------------------------- */

/* Of a function in several pieces, the first is the one that begins it. */
static bool is_at(Dwarf_Die *function, uint64_t *entry)
{
	Dwarf_Addr at = 0, base, end;
	if (dwarf_entrypc(function, &at) != 0 && dwarf_ranges(function, 0, &base, &at, &end) <= 0)
		return false;
	if (!at)
		return false;
	*entry = at;
	return true;
}

/* Find the function with code that has this declaration, in a unit or namespace. */
static bool find_instance(struct graph *g, Dwarf_Die *parent, const Dwarf_Die *declaration, struct node *n, int depth)
{
	Dwarf_Die child;
	int last = dwarf_child(parent, &child);
	for (; last == 0 && budget_take(&dwarf_budget(g->d)->dies); last = dwarf_siblingof(&child, &child)) {
		int tag = dwarf_tag(&child);
		if (tag == DW_TAG_subprogram && is_at(&child, &n->entry) &&
		    scopes_declaration(&child).addr == declaration->addr) {
			n->die = child;
			return true;
		}
		if ((tag == DW_TAG_namespace || tag == DW_TAG_module) && depth < DEPTH_MOST &&
		    find_instance(g, &child, declaration, n, depth + 1))
			return true;
	}
	n->entry = 0;
	return false;
}

/* Find a function of another unit by its name in the symbol table. */
static void find_by_name(struct graph *g, struct node *n)
{
	struct found f = {.address = functions_find(g->symbols, n->name)};
	if (!f.address)
		return;
	dwarf_find(g->d, g->r, &f, 1);
	if (!f.has_function || f.start != f.address)
		return;
	n->entry = f.start;
	n->die = f.function;
}

static struct node locate(struct graph *g, Dwarf_Die *callee)
{
	Dwarf_Die unit, declaration = scopes_declaration(callee);
	const char *name = dwarf_name_of(callee);
	struct node n = {.die = *callee, .name = name ? texts_keep(g->texts, name, strlen(name)) : NULL};
	if (!n.name)
		n.name = "";
	if (!is_at(callee, &n.entry) &&
	    !(dwarf_diecu(callee, &unit, NULL, NULL) && find_instance(g, &unit, &declaration, &n, 0)))
		find_by_name(g, &n);
	return n;
}

/* --- the graph -------------------------------------------------------------------------------- */

/* Returns the function's place in the graph, where it may have been already. */
static const struct node *add_node(struct graph *g, const struct node *n)
{
	for (size_t i = 0; i < g->nodes; i++)
		if (n->entry ? g->node[i].entry == n->entry
		             : !g->node[i].entry && strcmp(g->node[i].name, n->name) == 0)
			return &g->node[i];
	if (g->nodes == JUMPS_MOST + 1) {
		g->is_too_large = true;
		return NULL;
	}
	g->node[g->nodes] = *n;
	return &g->node[g->nodes++];
}

static bool is_jump(Dwarf_Die *call)
{
	Dwarf_Attribute attr;
	bool is = false;
	dwarf_formflag(dwarf_attr(call, DW_AT_call_tail_call, &attr), &is);
	if (!is)
		dwarf_formflag(dwarf_attr(call, DW_AT_GNU_tail_call, &attr), &is);
	return is;
}

/* Returns an address within the jump: gcc gives its end, clang its beginning; 0: not known. */
static uint64_t address_of(Dwarf_Die *jump)
{
	Dwarf_Attribute attr;
	Dwarf_Addr at;
	uint64_t end = dies_call_end(jump);
	if (end)
		return end - 1;
	return dwarf_formaddr(dwarf_attr(jump, DW_AT_call_pc, &attr), &at) == 0 ? at : 0;
}

static void add_jump(struct graph *g, uint64_t from, Dwarf_Die *jump)
{
	Dwarf_Die callee;
	struct node n = {.name = ""};
	if (jumps_callee(jump, &callee))
		n = locate(g, &callee);
	const struct node *to = add_node(g, &n);
	if (g->jumps == JUMPS_MOST)
		g->is_too_large = true;
	else if (to)
		g->jump[g->jumps++] = (struct jump){from, address_of(jump), to->entry, to->name};
}

/* Add the jumps below an entry of a function. */
static void add_jumps(struct graph *g, uint64_t from, Dwarf_Die *parent, int depth)
{
	Dwarf_Die child;
	int last = dwarf_child(parent, &child);
	for (; last == 0 && budget_take(&dwarf_budget(g->d)->dies); last = dwarf_siblingof(&child, &child)) {
		switch (dwarf_tag(&child)) {
		case DW_TAG_call_site:
		case DW_TAG_GNU_call_site:
			if (is_jump(&child))
				add_jump(g, from, &child);
			break;
		case DW_TAG_inlined_subroutine:
		case DW_TAG_lexical_block:
		case DW_TAG_try_block:
		case DW_TAG_catch_block:
			if (depth < DEPTH_MOST)
				add_jumps(g, from, &child, depth + 1);
			break;
		default: break;
		}
		if (g->is_too_large)
			return;
	}
}

void jumps_find(struct dwarf *d, const struct functions *symbols, struct texts *texts, struct region *r,
                const struct found *from, struct jumps *to)
{
	Dwarf_Die call = from->call, callee;
	struct graph *g = from->has_call && jumps_callee(&call, &callee) ? region_alloc(r, sizeof *g) : NULL;
	if (!g)
		return;
	*g = (struct graph){.d = d, .symbols = symbols, .texts = texts, .r = r};
	struct node n = locate(g, &callee);
	if (!n.entry)
		return;
	add_node(g, &n);
	for (size_t i = 0; i < g->nodes && !g->is_too_large; i++)
		if (g->node[i].entry)
			add_jumps(g, g->node[i].entry, &g->node[i].die, 0);
	to->first = n.entry;
	to->count = g->is_too_large ? 0 : g->jumps;
	to->jump = g->jump;
}
