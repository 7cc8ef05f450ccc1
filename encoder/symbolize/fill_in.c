/* fill_in.c - add to a saved profile the functions, files, lines and inlined calls that it lacks.
 *
 * Runs in: pprofshim-symbolize.
 *
 * It takes three steps. First it finds the locations that lack something, grouped by the file of their addresses. Then
 * it looks them up in each file and keeps the answers in `found`, with their texts in the string table already. Now it
 * is known which functions are no longer used, and the lines are written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/fill_in.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/symbolize/completion.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/saved/profile_file.h"
#include "encoder/symbolize/protocol.h"

/* --- what is missing ------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* "libfoo.so+0x12af", which a profiler writes if it knows no name. */
static bool is_stopgap(const char *name, const char *file)
{
	const char *base = base_name(file);
	size_t len = strlen(base);
	return len && strncmp(name, base, len) == 0 && strncmp(name + len, "+0x", 3) == 0;
}

/* Does the location have lines, and all of them a function with a name? */
static bool is_named(const struct completion *c, const Pprof__Location *l, const Pprof__Mapping *m)
{
	for (size_t i = 0; i < l->n_line; i++) {
		const Pprof__Function *f = completion_function_of(c, l->line[i]);
		const char *name = f ? completion_text(c, f->name) : "";
		if (!*name || is_stopgap(name, completion_text(c, m->filename)))
			return false;
	}
	return l->n_line > 0;
}

static bool is_complete(const struct completion *c, const Pprof__Location *l, const Pprof__Mapping *m)
{
	for (size_t i = 0; i < l->n_line; i++) {
		const Pprof__Function *f = completion_function_of(c, l->line[i]);
		if (!f || !*completion_text(c, f->filename) || l->line[i]->line == 0)
			return false;
	}
	return is_named(c, l, m);
}

static bool is_inside(const Pprof__Mapping *m, uint64_t address)
{
	return address >= m->memory_start && (m->memory_limit == 0 || address < m->memory_limit);
}

static bool find_wanted(struct completion *c)
{
	const Pprof__Profile *p = c->p;
	c->wanted = calloc(p->n_location + 1, sizeof *c->wanted);
	c->found = calloc(p->n_location + 1, sizeof *c->found);
	if (!c->wanted || !c->found)
		return completion_fail(c, COMPLETION_NO_MEMORY);
	for (size_t i = 0; i < p->n_location; i++) {
		const Pprof__Location *l = p->location[i];
		const struct place *at = places_find(&c->mappings, l->mapping_id);
		const Pprof__Mapping *m = at ? p->mapping[at->index] : NULL;
		if (m && *completion_text(c, m->filename) && is_inside(m, l->address) && !is_complete(c, l, m))
			c->wanted[c->wanted_count++] = (struct wanted){at->index, l->address, i};
	}
	return true;
}

/* --- what files say -------------------------------------------------------------------------------- */

/* An answer with nothing but a function's name does not replace a name that is there. */
static bool is_better(const struct completion *c, const struct answer *a, const struct wanted *w)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->frame[i].line || *a->frame[i].file)
			return true;
	return a->count && !is_named(c, c->p->location[w->location], c->p->mapping[w->mapping]);
}

static struct found *keep(struct completion *c, const struct answer *a)
{
	size_t count = a->count < SYMBOLIZE_FRAMES_MAX ? a->count : SYMBOLIZE_FRAMES_MAX;
	struct found *f = calloc(1, sizeof *f + count * sizeof *f->line);
	if (!f) {
		completion_fail(c, COMPLETION_NO_MEMORY);
		return NULL;
	}
	f->count = count;
	for (size_t i = 0; i < count; i++)
		f->line[i] = (struct found_line){
			.name = completion_string(c, a->frame[i].name),
			.system = completion_string(c, a->frame[i].system),
			.file = completion_string(c, a->frame[i].file),
			.line = a->frame[i].line,
			.start_line = a->frame[i].start_line,
		};
	return f;
}

static void take_answer(void *arg, const struct answer *a)
{
	struct completion *c = arg;
	size_t low = 0, high = c->run_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (c->run[middle].address < a->address)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < c->run_count && c->run[low].address == a->address && !c->wrong; low++) {
		const struct wanted *w = &c->run[low];
		if (!c->found[w->location] && is_better(c, a, w))
			c->found[w->location] = keep(c, a);
	}
}

static int by_address(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;
	return (x->address > y->address) - (x->address < y->address);
}

/* Look up each location of the run once, after its address in the profile became that in the file. */
static void look_up(struct completion *c, struct object *o, struct wanted *run, size_t count)
{
	size_t kept = 0, n = 0;
	for (size_t i = 0; i < count; i++) {
		const Pprof__Mapping *m = c->p->mapping[run[i].mapping];
		uint64_t address = object_address_of_offset(o, run[i].address - m->memory_start + m->file_offset);
		if (address != UINT64_MAX)
			run[kept++] = (struct wanted){run[i].mapping, address, run[i].location};
	}
	qsort(run, kept, sizeof *run, by_address);
	uint64_t *addresses = calloc(kept + 1, sizeof *addresses);
	if (!addresses) {
		completion_fail(c, COMPLETION_NO_MEMORY);
		return;
	}
	for (size_t i = 0; i < kept; i++)
		if (i == 0 || run[i].address != run[i - 1].address)
			addresses[n++] = run[i].address;
	c->run = run;
	c->run_count = kept;
	if (n)
		object_lookup(o, addresses, n, take_answer, c);
	free(addresses);
}

/* --- which file ------------------------------------------------------------------------------------ */

/* Does the file have a build id? This one matches no file, so it opens only a file without any. */
static bool has_build_id(const char *path)
{
	const char *why;
	struct object *o = object_open(path, "00", &why);
	if (o)
		object_close(o);
	return !o;
}

/* Open a file that the user named. by_name: among those with the mapping's name; else the build id must match. */
static struct object *open_binary(const struct completion *c, const char *file, const char *build_id, bool by_name)
{
	const char *why;
	for (size_t i = 0; i < c->binaries->count; i++) {
		const char *path = c->binaries->path[i];
		bool is_named_so = strcmp(base_name(path), base_name(file)) == 0;
		if (is_named_so != by_name || (!by_name && (!build_id || !has_build_id(path))))
			continue;
		struct object *o = object_open(path, build_id, &why);
		if (o)
			return o;
	}
	return NULL;
}

/* "[vdso]", "//anon" and the like are no files. */
static bool is_file(const char *file)
{
	return file[0] != '[' && !(file[0] == '/' && file[1] == '/');
}

static struct object *open_mapping(const struct completion *c, const Pprof__Mapping *m)
{
	const char *file = completion_text(c, m->filename), *id = completion_text(c, m->build_id), *why = NULL;
	const char *build_id = *id ? id : NULL;
	struct object *o = open_binary(c, file, build_id, true);
	if (!o && is_file(file))
		o = object_open(file, build_id, &why);
	if (!o)
		o = open_binary(c, file, build_id, false);
	if (!o && why)
		fprintf(c->notes, SYMBOLIZE_PROGRAM ": %s: %s; --binary names a file elsewhere\n", file, why);
	return o;
}

static Pprof__Profile *sorting; /* for qsort, whose callback gets no argument; there is one thread */

/* Puts mappings of one file next to each other, whatever part of it they map. */
static int by_file(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;
	const Pprof__Mapping *m = sorting->mapping[x->mapping], *n = sorting->mapping[y->mapping];
	if (m->filename != n->filename)
		return m->filename < n->filename ? -1 : 1;
	if (m->build_id != n->build_id)
		return m->build_id < n->build_id ? -1 : 1;
	return (x->mapping > y->mapping) - (x->mapping < y->mapping);
}

static bool is_same_file(const Pprof__Mapping *m, const Pprof__Mapping *n)
{
	return m->filename == n->filename && m->build_id == n->build_id;
}

static bool look_into_files(struct completion *c)
{
	Pprof__Mapping **mapping = c->p->mapping;
	sorting = c->p;
	qsort(c->wanted, c->wanted_count, sizeof *c->wanted, by_file);
	for (size_t i = 0, end; i < c->wanted_count && !c->wrong; i = end) {
		const Pprof__Mapping *m = mapping[c->wanted[i].mapping];
		for (end = i + 1; end < c->wanted_count && is_same_file(m, mapping[c->wanted[end].mapping]);)
			end++;
		struct object *o = open_mapping(c, m);
		if (!o)
			continue;
		look_up(c, o, c->wanted + i, end - i);
		if (object_note(o))
			fprintf(c->notes, SYMBOLIZE_PROGRAM ": %s: %s\n", completion_text(c, m->filename),
			        object_note(o));
		object_close(o);
	}
	return !c->wrong;
}

/* --- the flags of mappings ------------------------------------------------------------------------- */

/* A reader takes "has functions" to mean that nothing is left to look up, so it must hold for every location. The other
 * flags say what can be shown. */
struct flags {
	bool changed, nameless, files, lines, inlines;
};

static void note_location(const struct completion *c, size_t i, const struct places *functions, struct flags *flags)
{
	const Pprof__Location *l = c->p->location[i];
	flags->changed |= c->found[i] != NULL;
	flags->nameless |= l->n_line == 0;
	flags->inlines |= l->n_line > 1;
	for (size_t k = 0; k < l->n_line; k++) {
		const struct place *at = places_find(functions, l->line[k]->function_id);
		const Pprof__Function *f = at ? c->p->function[at->index] : NULL;
		flags->nameless |= !f || !*completion_text(c, f->name);
		flags->files |= f && *completion_text(c, f->filename);
		flags->lines |= l->line[k]->line != 0;
	}
}

static bool set_flags(struct completion *c)
{
	struct flags *flags = calloc(c->p->n_mapping + 1, sizeof *flags);
	places_free(&c->functions);
	places_free(&c->mappings);
	if (!flags || !completion_index_ids(c)) {
		free(flags);
		return completion_fail(c, COMPLETION_NO_MEMORY);
	}
	for (size_t i = 0; i < c->p->n_location; i++) {
		const struct place *at = places_find(&c->mappings, c->p->location[i]->mapping_id);
		if (at)
			note_location(c, i, &c->functions, &flags[at->index]);
	}
	for (size_t i = 0; i < c->p->n_mapping; i++) {
		Pprof__Mapping *m = c->p->mapping[i];
		if (!flags[i].changed)
			continue;
		m->has_functions |= !flags[i].nameless;
		m->has_filenames |= flags[i].files;
		m->has_line_numbers |= flags[i].lines;
		m->has_inline_frames |= flags[i].inlines;
	}
	free(flags);
	return true;
}

/* --- the whole profile ----------------------------------------------------------------------------- */

const char *complete_profile(Pprof__Profile *p, const struct binaries *binaries, FILE *notes)
{
	struct completion c = {.p = p, .binaries = binaries, .notes = notes};
	if (completion_index_strings(&c) && completion_index_ids(&c) && find_wanted(&c) && look_into_files(&c))
		if (completion_index_functions(&c) && completion_write_lines(&c))
			set_flags(&c);
	for (size_t i = 0; c.found && i < p->n_location; i++)
		free(c.found[i]);
	free(c.found);
	free(c.wanted);
	free(c.spare);
	places_free(&c.mappings);
	places_free(&c.functions);
	free(c.strings.slot);
	free(c.by_contents.slot);
	return c.wrong;
}

const char *complete_file(int in, int out, const struct binaries *binaries, FILE *notes)
{
	Pprof__Profile *p;
	const char *wrong = profile_read(in, &p);
	if (!wrong)
		wrong = complete_profile(p, binaries, notes);
	if (!wrong)
		wrong = profile_write(out, p);
	if (p)
		pprof__profile__free_unpacked(p, NULL);
	return wrong;
}
