/* scopes.c - qualified names of functions that have no linker's name: namespaces, classes, the function of a lambda.
 *
 * Runs in: pprofshim-symbolize.
 *
 * Compilers give no linker's name to what no other file can call: functions in unnamed namespaces, methods of local
 * classes, lambdas. Their bare names ("run", "operator()") are those of strangers, too. An entry does not know its
 * parent, so each unit is walked once for all of its functions, down those branches alone that hold one of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/scopes.h"

#include <dwarf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ORIGINS_MOST = 16, /* longest chain of DW_AT_abstract_origin and _specification */
	DEPTH_MOST = 64,
	NESTED_MOST = 4, /* walks for scopes that are declared elsewhere */
	NAME_MOST = 4096,
};

struct walk {
	struct scoped *at, *end; /* what is still to be found, in the order of the unit */
	const char *separator;
	struct texts *texts;
	struct region *r;
	struct budget *budget;
	int nested;
};

static bool follow(Dwarf_Die *die, unsigned attribute)
{
	Dwarf_Attribute attr;
	Dwarf_Die to;
	if (!dwarf_formref_die(dwarf_attr(die, attribute, &attr), &to))
		return false;
	*die = to;
	return true;
}

Dwarf_Die scopes_declaration(Dwarf_Die *function)
{
	Dwarf_Die die = *function;
	for (int i = 0; i < ORIGINS_MOST; i++)
		if (!follow(&die, DW_AT_abstract_origin) && !follow(&die, DW_AT_specification))
			break;
	return die;
}

static int by_place(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct scoped *)a)->die.addr,
		  y = (uintptr_t)((const struct scoped *)b)->die.addr;
	return (x > y) - (x < y);
}

const struct scoped *scopes_of(const struct scoped *s, size_t count, const Dwarf_Die *declaration)
{
	const struct scoped key = {.die = *declaration};
	return count ? bsearch(&key, s, count, sizeof *s, by_place) : NULL;
}

/* --- names of scopes -------------------------------------------------------------------------- */

static const char *join(const struct walk *w, const char *scope, const char *name)
{
	size_t a = strlen(scope), b = strlen(w->separator), c = strlen(name);
	if (!a || a + b + c > NAME_MOST)
		return name;
	char *both = region_alloc(w->r, a + b + c + 1);
	if (!both)
		return name;
	memcpy(both, scope, a);
	memcpy(both + a, w->separator, b);
	memcpy(both + a + b, name, c + 1);
	return both;
}

static const char *string_of(Dwarf_Die *die, unsigned attribute)
{
	Dwarf_Attribute attr;
	const char *s = dwarf_formstring(dwarf_attr_integrate(die, attribute, &attr));
	return s && *s ? s : NULL;
}

static const char *linker_name(Dwarf_Die *die)
{
	const char *s = string_of(die, DW_AT_linkage_name);
	return s ? s : string_of(die, DW_AT_MIPS_linkage_name);
}

/* Is a class without a name that of a lambda? */
static bool is_lambda(Dwarf_Die *class)
{
	Dwarf_Die child;
	int last = dwarf_child(class, &child);
	for (; last == 0; last = dwarf_siblingof(&child, &child)) {
		const char *name = dwarf_tag(&child) == DW_TAG_subprogram ? dwarf_diename(&child) : NULL;
		if (name && strncmp(name, "operator()", strlen("operator()")) == 0)
			return true;
	}
	return false;
}

/* Returns the name of a scope that has none in the source. `number` tells it from its siblings. */
static const char *unnamed(struct walk *w, Dwarf_Die *die, int tag, unsigned number)
{
	char text[32];
	if (tag == DW_TAG_namespace)
		return "(anonymous namespace)";
	if (tag == DW_TAG_subprogram || tag == DW_TAG_module)
		return NULL;
	snprintf(text, sizeof text, is_lambda(die) ? "{lambda#%u}" : "{unnamed type#%u}", number);
	return texts_keep(w->texts, text, strlen(text));
}

static void walk_unit(struct walk *w);

/* Returns the full name of an entry that is declared elsewhere than where the walk met it, by a walk of its own. */
static const char *name_elsewhere(const struct walk *w, Dwarf_Die declaration)
{
	struct scoped one = {.die = declaration};
	struct walk again = *w;
	if (w->nested == NESTED_MOST)
		return NULL;
	again.at = &one;
	again.end = &one + 1;
	again.nested++;
	walk_unit(&again);
	return one.name;
}

/* A function is a scope by its linker's name, which has its own scopes; a function or class that completes a
 * declaration has the scopes of that one. */
static const char *name_of_scope(struct walk *w, Dwarf_Die *die, int tag, unsigned number, const char *prefix)
{
	const char *linked = tag == DW_TAG_subprogram ? linker_name(die) : NULL;
	Dwarf_Die declaration = scopes_declaration(die);
	const char *elsewhere = NULL, *name;
	if (linked && (linked = texts_keep(w->texts, linked, strlen(linked))))
		return texts_name(w->texts, linked);
	if (declaration.addr != die->addr)
		elsewhere = name_elsewhere(w, declaration);
	name = string_of(die, DW_AT_name);
	name = name ? name : unnamed(w, die, tag, number);
	return elsewhere ? elsewhere : name ? join(w, prefix, name) : prefix;
}

static const char *scope_below(struct walk *w, Dwarf_Die *die, unsigned number, const char *prefix)
{
	int tag = dwarf_tag(die);
	switch (tag) {
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_class_type:
	case DW_TAG_interface_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
	case DW_TAG_subprogram: return name_of_scope(w, die, tag, number, prefix);
	default: return prefix; /* blocks, calls that were inlined */
	}
}

/* --- the walk --------------------------------------------------------------------------------- */

static void name_here(struct walk *w, Dwarf_Die *die, const char *prefix)
{
	const char *name = string_of(die, DW_AT_name);
	if (!name)
		return;
	name = join(w, prefix, name);
	w->at->name = texts_keep(w->texts, name, strlen(name));
}

/* Is the next function that is wanted below this entry, whose sibling begins at `end` (NULL: it has none)? */
static bool is_wanted_below(const struct walk *w, const Dwarf_Die *die, const void *end)
{
	return w->at < w->end && w->at->die.addr > die->addr && (!end || (const void *)w->at->die.addr < end);
}

static bool is_unnamed_class(Dwarf_Die *die)
{
	int tag = dwarf_tag(die);
	return (tag == DW_TAG_class_type || tag == DW_TAG_structure_type || tag == DW_TAG_union_type) &&
	       !string_of(die, DW_AT_name);
}

static void walk_children(struct walk *w, Dwarf_Die *parent, const char *prefix, int depth)
{
	Dwarf_Die child, next = {0};
	int last = dwarf_child(parent, &child);
	unsigned number = 0; /* of unnamed classes so far */
	for (; last == 0 && depth < DEPTH_MOST && budget_take(&w->budget->dies); child = next) {
		last = dwarf_siblingof(&child, &next);
		const void *end = last ? NULL : next.addr;
		while (w->at < w->end && w->at->die.addr < child.addr)
			w->at++; /* it is no entry of this tree */
		if (w->at == w->end || last < 0 || (end && end <= (const void *)child.addr))
			return;
		number += is_unnamed_class(&child);
		if (w->at->die.addr == child.addr) {
			name_here(w, &child, prefix);
			w->at++;
		}
		if (is_wanted_below(w, &child, end))
			walk_children(w, &child, scope_below(w, &child, number, prefix), depth + 1);
	}
}

/* Returns what stands between scopes; NULL: names in this language have none, or hold them already. */
static const char *separator_of(Dwarf_Die *unit)
{
	switch (dwarf_srclang(unit)) {
	case DW_LANG_C:
	case DW_LANG_C89:
	case DW_LANG_C99:
	case DW_LANG_C11:
	case DW_LANG_Ada83:
	case DW_LANG_Ada95:
	case DW_LANG_Mips_Assembler: return NULL;
	case DW_LANG_D:
	case DW_LANG_Go:
	case DW_LANG_Java:
	case DW_LANG_Swift: return ".";
	default: return "::";
	}
}

static void walk_unit(struct walk *w)
{
	Dwarf_Die unit;
	if (!dwarf_diecu(&w->at->die, &unit, NULL, NULL))
		return;
	w->separator = separator_of(&unit);
	if (w->separator)
		walk_children(w, &unit, "", 0);
}

void scopes_find(struct scoped *s, size_t count, struct texts *texts, struct region *r, struct budget *budget)
{
	qsort(s, count, sizeof *s, by_place);
	for (size_t i = 0, n; i < count; i += n) {
		for (n = 1; i + n < count && s[i + n].die.cu == s[i].die.cu; n++)
			continue;
		struct walk w = {.at = s + i, .end = s + i + n, .texts = texts, .r = r, .budget = budget};
		walk_unit(&w);
	}
}
