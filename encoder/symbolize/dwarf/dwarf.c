/* dwarf.c - from addresses to units, and from a unit's entries and lines to frames.
 *
 * Runs in: pprofshim-symbolize.
 *
 * The unit of an address is found by the ranges in the units' own entries. Only gcc writes .debug_aranges, and often it
 * covers only some of the units.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/dwarf.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/sort.h"
#include "encoder/symbolize/elf/debug_file.h"
#include "encoder/symbolize/dwarf/dies.h"
#include "encoder/symbolize/dwarf/jumps.h"
#include "encoder/symbolize/dwarf/lines.h"
#include "encoder/symbolize/dwarf/scopes.h"
#include "encoder/symbolize/dwarf/split.h"
#include "encoder/symbolize/elf/zstd.h"

enum {
	UNITS_MOST = 1 << 22,
};

static const struct budget budget_of_object = {.dies = UINT64_C(1) << 30, .ranges = UINT64_C(1) << 28};

struct dwarf {
	Dwarf *dw;
	struct elf_file *alt_file; /* of dwz; NULL: none */
	Dwarf *alt;
	struct texts *texts;
	struct lines lines;
	struct budget budget;
	struct region scratch; /* of the unit at hand */
	struct scoped *scoped; /* names of its functions; in scratch */
	size_t scoped_count;
	const char *note;
};

/* --- memory ----------------------------------------------------------------------------------- */

/* If libdw can't allocate it ends the process, unless its handler jumps out. One thread, one lookup at a time. */
static jmp_buf *out_of_memory;

__attribute__((noreturn)) static void on_no_memory(void)
{
	if (out_of_memory)
		longjmp(*out_of_memory, 1);
	_Exit(3);
}

static void note(struct dwarf *d, const char *why)
{
	if (!d->note)
		d->note = why;
}

bool dwarf_guard(struct dwarf *d, void (*work)(void *arg), void *arg)
{
	jmp_buf here;
	out_of_memory = &here;
	bool done = setjmp(here) == 0;
	if (done)
		work(arg);
	else
		note(d, "no memory for DWARF");
	out_of_memory = NULL;
	return done;
}

/* --- open ------------------------------------------------------------------------------------- */

static void open_alt(struct dwarf *d, const struct elf_file *f)
{
	const char *name;
	const void *id;
	ssize_t len = dwelf_dwarf_gnu_debugaltlink(d->dw, &name, &id);
	if (len <= 0)
		return;
	d->alt_file = debug_file_find_alt(f, name, id, (size_t)len);
	if (d->alt_file)
		zstd_unpack(d->alt_file);
	d->alt = d->alt_file ? dwarf_begin_elf(d->alt_file->elf, DWARF_C_READ, NULL) : NULL;
	if (!d->alt) {
		note(d, "the supplementary debug file (.gnu_debugaltlink) was not found");
		return;
	}
	dwarf_new_oom_handler(d->alt, on_no_memory);
	dwarf_setalt(d->dw, d->alt);
}

static size_t opened; /* that are not closed yet */

struct dwarf *dwarf_open(const struct elf_file *f, struct texts *texts)
{
	struct dwarf *d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->dw = dwarf_begin_elf(f->elf, DWARF_C_READ, NULL);
	if (!d->dw) {
		free(d);
		return NULL;
	}
	dwarf_new_oom_handler(d->dw, on_no_memory);
	d->texts = texts;
	d->budget = budget_of_object;
	lines_open(&d->lines, f);
	open_alt(d, f);
	opened++;
	return d;
}

void dwarf_close(struct dwarf *d)
{
	if (!d)
		return;
	lines_close(&d->lines);
	dwarf_end(d->dw);
	if (d->alt)
		dwarf_end(d->alt);
	elf_file_close(d->alt_file);
	free(d);
	if (--opened == 0)
		split_release();
}

struct budget *dwarf_budget(struct dwarf *d)
{
	return &d->budget;
}

const char *dwarf_note(const struct dwarf *d)
{
	return d->note;
}

/* --- units ------------------------------------------------------------------------------------ */

struct owner {
	Dwarf_Off unit;  /* of its entry */
	uint64_t length; /* of the range that covers the address; 0: no unit does */
	bool doubtful;   /* the range begins at 0: its code was probably dropped by the linker */
	size_t index;    /* in `found` */
};

/* Ranges overlap if one is of dropped code. A range that does not begin at 0 is the better guess, then the
 * shorter one. */
static void offer(struct owner *o, Dwarf_Off unit, uint64_t start, uint64_t length)
{
	bool better = !o->length || (o->doubtful && start) || (o->doubtful == !start && length < o->length);
	if (!better)
		return;
	o->unit = unit;
	o->length = length;
	o->doubtful = !start;
}

static void offer_unit(struct dwarf *d, Dwarf_Die *unit, const struct found *f, size_t count, struct owner *owners)
{
	Dwarf_Addr base, start, end;
	Dwarf_Off offset = dwarf_dieoffset(unit);
	for (ptrdiff_t at = 0; (at = dwarf_ranges(unit, at, &base, &start, &end)) > 0;) {
		for (size_t i = sort_first_from(f, count, sizeof *f, start); i < count && f[i].address < end; i++) {
			offer(&owners[i], offset, start, end - start);
			budget_take(&d->budget.ranges);
		}
		if (!budget_take(&d->budget.ranges))
			return;
	}
}

static void find_owners(struct dwarf *d, const struct found *f, size_t count, struct owner *owners)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die unit;
	uint8_t type;
	int r = 0;
	for (size_t i = 0; i < count; i++)
		owners[i].index = i;
	for (int units = 0; units < UNITS_MOST; units++) {
		r = dwarf_get_units(d->dw, cu, &cu, NULL, &type, &unit, NULL);
		if (r != 0)
			break;
		if (type == DW_UT_compile || type == DW_UT_skeleton)
			offer_unit(d, &unit, f, count, owners);
	}
	if (!d->budget.ranges)
		note(d, "there is too much DWARF");
	else if (r < 0)
		note(d, "the DWARF's units can't be read: they are damaged, or there is no memory to unpack them");
}

static int by_unit(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;
	int r = (x->unit > y->unit) - (x->unit < y->unit);
	return r ? r : (x->index > y->index) - (x->index < y->index);
}

/* --- frames ----------------------------------------------------------------------------------- */

static const char *text_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;
	const char *s = dwarf_formstring(dwarf_attr_integrate(die, name, &attr));
	return s && *s ? s : NULL;
}

static uint64_t number_of(Dwarf_Attribute *attr)
{
	Dwarf_Word v;
	return attr && dwarf_formudata(attr, &v) == 0 ? v : 0;
}

static const char *linkage_name_of(Dwarf_Die *die)
{
	const char *s = text_of(die, DW_AT_linkage_name);
	return s ? s : text_of(die, DW_AT_MIPS_linkage_name);
}

const char *dwarf_name_of(Dwarf_Die *function)
{
	const char *s = linkage_name_of(function);
	return s ? s : text_of(function, DW_AT_name);
}

/* Functions without a linker's name have the name of their entry, and for users one with all that they are in. */
static void name_frame(struct dwarf *d, struct frame *f, Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	const char *linked = linkage_name_of(die), *s = dwarf_name_of(die);
	f->system = s ? texts_keep(d->texts, s, strlen(s)) : NULL;
	if (!linked && d->scoped) {
		Dwarf_Die declaration = scopes_declaration(die);
		const struct scoped *scoped = scopes_of(d->scoped, d->scoped_count, &declaration);
		f->name = scoped ? scoped->name : NULL;
	}
	f->start_line = (unsigned)number_of(dwarf_attr_integrate(die, DW_AT_decl_line, &attr));
}

/* Give the frame the place where the inlined function `die` is called. */
static void place_frame(struct dwarf *d, struct frame *f, Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	f->file = lines_file(&d->lines, d->texts, number_of(dwarf_attr(die, DW_AT_call_file, &attr)));
	f->line = (unsigned)number_of(dwarf_attr(die, DW_AT_call_line, &attr));
}

static void fill_call(struct dwarf *d, struct found *to, const struct hit *h)
{
	Dwarf_Die callee;
	const char *name;
	to->has_function = h->chain;
	if (h->chain)
		to->function = h->chain->die[h->chain->count - 1];
	to->has_call = h->has_call;
	to->call = h->call;
	if (h->has_call && jumps_callee(&to->call, &callee) && (name = dwarf_name_of(&callee)))
		to->calls = texts_keep(d->texts, name, strlen(name));
}

static void fill(struct dwarf *d, struct region *r, struct found *to, const struct hit *h, const struct line_query *q)
{
	const struct chain *c = h->chain;
	Dwarf_Addr start;
	size_t n = c ? c->count : q->found;
	fill_call(d, to, h);
	to->frame = n ? region_alloc(r, n * sizeof *to->frame) : NULL;
	if (!to->frame)
		return;
	for (size_t i = 0; i < n; i++) {
		Dwarf_Die die;
		struct frame *f = &to->frame[i];
		f->file = "";
		if (i > 0) {
			die = c->die[i - 1];
			place_frame(d, f, &die);
		} else if (q->found) {
			f->file = lines_file(&d->lines, d->texts, q->file);
			f->line = q->line;
		}
		if (c) {
			die = c->die[i];
			name_frame(d, f, &die);
			if (i + 1 == n && dwarf_entrypc(&die, &start) == 0)
				to->start = start;
		}
	}
	to->count = n;
}

/* --- one unit --------------------------------------------------------------------------------- */

struct work {
	struct hit *hits;
	struct line_query *lines;
	const struct owner *owners;
	size_t count;
};

static void read_lines(struct dwarf *d, Dwarf_Die *unit, struct work *w)
{
	Dwarf_Attribute attr;
	Dwarf_Word offset;
	const char *comp_dir = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attr));
	d->lines.files = d->lines.dirs = 0;
	if (dwarf_formudata(dwarf_attr(unit, DW_AT_stmt_list, &attr), &offset) != 0)
		return;
	if (!lines_read(&d->lines, offset, comp_dir, w->lines, w->count))
		note(d, "damaged DWARF: a line table");
}

/* Returns the unit's tree, which is in a .dwo file if it was compiled with -gsplit-dwarf. */
static Dwarf_Die tree_of(struct dwarf *d, Dwarf_Die *unit)
{
	Dwarf_Die split = {0};
	uint8_t type = 0;
	if (dwarf_cu_info(unit->cu, NULL, &type, NULL, &split, NULL, NULL, NULL) != 0 || type != DW_UT_skeleton)
		return *unit;
	if (!split.addr) {
		note(d, "a .dwo file was not found: inlined functions are missing");
		return *unit;
	}
	dwarf_new_oom_handler(dwarf_cu_getdwarf(split.cu), on_no_memory);
	return split;
}

static int by_place(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const Dwarf_Die *)a)->addr, y = (uintptr_t)((const Dwarf_Die *)b)->addr;
	return (x > y) - (x < y);
}

/* List the declarations of functions without a linker's name; some are there twice. */
static size_t list_nameless(const struct work *w, Dwarf_Die *list)
{
	size_t n = 0;
	for (size_t i = 0; i < w->count; i++)
		for (size_t k = 0; w->hits[i].chain && k < w->hits[i].chain->count; k++) {
			Dwarf_Die die = w->hits[i].chain->die[k];
			if (!linkage_name_of(&die))
				list[n++] = scopes_declaration(&die);
		}
	return n;
}

static void find_scopes(struct dwarf *d, const struct work *w)
{
	size_t most = 0, n = 0;
	d->scoped_count = 0;
	for (size_t i = 0; i < w->count; i++)
		most += w->hits[i].chain ? w->hits[i].chain->count : 0;
	Dwarf_Die *list = region_alloc(&d->scratch, most * sizeof *list + 1);
	d->scoped = region_alloc(&d->scratch, most * sizeof *d->scoped + 1);
	if (!list || !d->scoped)
		return;
	n = list_nameless(w, list);
	qsort(list, n, sizeof *list, by_place);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || list[i].addr != list[i - 1].addr)
			d->scoped[d->scoped_count++] = (struct scoped){.die = list[i]};
	scopes_find(d->scoped, d->scoped_count, d->texts, &d->scratch, &d->budget);
}

static void do_unit(struct dwarf *d, struct region *r, struct found *found, struct work *w)
{
	static const char *const why[] = {
		[DIES_DAMAGED] = "damaged DWARF: a unit",
		[DIES_TOO_MUCH] = "there is too much DWARF",
		[DIES_NO_MEMORY] = "no memory for DWARF",
	};
	Dwarf_Die unit;
	if (!dwarf_offdie(d->dw, w->owners[0].unit, &unit))
		return;
	for (size_t i = 0; i < w->count; i++) {
		uint64_t address = found[w->owners[i].index].address;
		w->hits[i] = (struct hit){.address = address};
		w->lines[i] = (struct line_query){.address = address};
	}
	Dwarf_Die tree = tree_of(d, &unit);
	enum dies_result result = dies_find(&tree, w->hits, w->count, &d->scratch, &d->budget);
	if (result != DIES_DONE)
		note(d, why[result]);
	read_lines(d, &unit, w);
	find_scopes(d, w);
	for (size_t i = 0; i < w->count; i++)
		fill(d, r, &found[w->owners[i].index], &w->hits[i], &w->lines[i]);
	d->scoped = NULL;
	region_release(&d->scratch);
}

static void do_units(struct dwarf *d, struct region *r, struct found *found, struct owner *owners, size_t count,
                     struct work *w)
{
	find_owners(d, found, count, owners);
	qsort(owners, count, sizeof *owners, by_unit);
	for (size_t i = 0, n; i < count; i += n) {
		for (n = 1; i + n < count && owners[i + n].unit == owners[i].unit; n++)
			continue;
		w->owners = owners + i;
		w->count = n;
		if (owners[i].length)
			do_unit(d, r, found, w);
	}
}

void dwarf_find(struct dwarf *d, struct region *r, struct found *found, size_t count)
{
	jmp_buf here, *const outer = out_of_memory;
	struct owner *const owners = calloc(count, sizeof *owners);
	struct work *const w = calloc(1, sizeof *w);
	if (w) {
		w->hits = calloc(count, sizeof *w->hits);
		w->lines = calloc(count, sizeof *w->lines);
	}
	out_of_memory = &here;
	if (!owners || !w || !w->hits || !w->lines || setjmp(here))
		note(d, "no memory for DWARF");
	else
		do_units(d, r, found, owners, count, w);
	out_of_memory = outer;
	d->scoped = NULL;
	region_release(&d->scratch); /* in case of a jump out of libdw */
	if (w) {
		free(w->hits);
		free(w->lines);
	}
	free(w);
	free(owners);
}
