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

#include "encoder/bytes/sort.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/profile_file.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/bytes/utf8.h"

static const char no_memory[] = "there is not enough memory for it";

/* --- numbers of things, by what they are ----------------------------------------------------------- */

/* Open addressing; at most half full. The owner of the table knows what its numbers stand for. */
struct table {
	uint32_t *slot; /* a number + 1; 0: free */
	size_t cap, count;
};

static uint64_t hash_bytes(uint64_t h, const void *p, size_t len)
{
	for (const unsigned char *s = p; len--; s++)
		h = (h ^ *s) * 0x100000001b3; /* FNV-1a */
	return h;
}

/* Returns the slot of the number that `is_it` accepts, or the free slot where it belongs. The table must have room. */
static uint32_t *table_slot(const struct table *t, uint64_t hash,
                            bool (*is_it)(const void *all, uint32_t number, const void *it), const void *all,
                            const void *it)
{
	size_t i = (hash ^ hash >> 32) & (t->cap - 1);
	while (t->slot[i] && !is_it(all, t->slot[i] - 1, it))
		i = (i + 1) & (t->cap - 1);
	return &t->slot[i];
}

/* Must the table grow before it takes one more? */
static bool table_is_full(const struct table *t)
{
	return 2 * (t->count + 1) > t->cap;
}

/* Replace the table by an empty one with room for `count` and some more. */
static bool table_renew(struct table *t, size_t count)
{
	size_t cap = 1024;
	while (cap < 4 * count)
		cap *= 2;
	free(t->slot);
	*t = (struct table){calloc(cap, sizeof *t->slot), cap, 0};
	return t->slot != NULL;
}

/* --- state ----------------------------------------------------------------------------------------- */

/* An id's place in an array of messages. Sorted by id. */
struct place {
	uint64_t id;
	size_t index;
};

struct places {
	struct place *at;
	size_t count;
};

struct found_line {
	int64_t name, system, file; /* numbers of strings */
	unsigned line, start_line;
};

/* The new lines of a location. */
struct found {
	size_t count;
	struct found_line line[];
};

/* A location that lacks something. `address` is that of the profile at first, then that of the file. */
struct wanted {
	size_t mapping;
	uint64_t address;
	size_t location;
};

struct completion {
	Pprof__Profile *p;
	const struct binaries *binaries;
	FILE *notes;
	const char *wrong;
	struct places mappings, functions;
	struct wanted *wanted;
	size_t wanted_count;
	struct found **found; /* one a location; NULL: it stays as it is */
	/* while a file is read: */
	struct wanted *run; /* its locations, sorted by address */
	size_t run_count;
	/* grown arrays of the profile: */
	struct table strings; /* numbers: of string_table */
	size_t string_cap;
	struct table by_contents; /* numbers: of function */
	size_t function_cap;
	uint64_t next_id;
	size_t *spare; /* functions that are no longer used */
	size_t spares;
};

static bool fail(struct completion *c, const char *why)
{
	c->wrong = why;
	return false;
}

/* Make room for one more in an array of `count` pointers. *cap is 0 at first: the array is then the profile's own. */
static bool grow(struct completion *c, void *array, size_t count, size_t *cap)
{
	void **old, **new;
	if (count < *cap)
		return true;
	memcpy(&old, array, sizeof old);
	size_t more = 2 * count + 64;
	if (more > UINT32_MAX / 2 || !(new = realloc(old, more * sizeof *new)))
		return fail(c, no_memory);
	memcpy(array, &new, sizeof new);
	*cap = more;
	return true;
}

/* --- strings --------------------------------------------------------------------------------------- */

static const char *text(const struct completion *c, int64_t number)
{
	return number >= 0 && (uint64_t)number < c->p->n_string_table ? c->p->string_table[number] : "";
}

static bool string_is(const void *all, uint32_t number, const void *it)
{
	return strcmp(((const Pprof__Profile *)all)->string_table[number], it) == 0;
}

static uint32_t *string_slot(const struct completion *c, const char *s)
{
	return table_slot(&c->strings, hash_bytes(0, s, strlen(s)), string_is, c->p, s);
}

static bool index_strings(struct completion *c)
{
	if (c->p->n_string_table > UINT32_MAX / 8 || !table_renew(&c->strings, c->p->n_string_table))
		return fail(c, no_memory);
	for (size_t i = 0; i < c->p->n_string_table; i++) {
		uint32_t *slot = string_slot(c, c->p->string_table[i]);
		if (*slot)
			continue; /* of equal strings, the first is used */
		*slot = (uint32_t)i + 1;
		c->strings.count++;
	}
	return true;
}

/* Add a string that the table lacks. Returns its number; 0: no memory. */
static int64_t add_string(struct completion *c, const char *s)
{
	if (table_is_full(&c->strings) && !index_strings(c))
		return 0;
	if (!grow(c, &c->p->string_table, c->p->n_string_table, &c->string_cap))
		return 0;
	char *copy = strdup(s);
	if (!copy)
		return fail(c, no_memory);
	*string_slot(c, copy) = (uint32_t)c->p->n_string_table + 1;
	c->strings.count++;
	c->p->string_table[c->p->n_string_table] = copy;
	return (int64_t)c->p->n_string_table++;
}

/* Returns the number of s, a text from a file. It may hold any bytes, but the profile's strings must be UTF-8. */
static int64_t string_of_file(struct completion *c, const char *s)
{
	struct region r = {0};
	int64_t number = *string_slot(c, s);
	if (number)
		return number - 1;
	const char *clean = utf8_line(&r, span_of(s));
	if (!clean)
		return fail(c, no_memory);
	number = *string_slot(c, clean);
	number = number ? number - 1 : add_string(c, clean);
	region_release(&r);
	return number;
}

/* --- by id ----------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static bool places_make(struct completion *c, struct places *s, size_t count)
{
	s->at = calloc(count + 1, sizeof *s->at);
	s->count = count;
	return s->at || fail(c, no_memory);
}

static const struct place *place_of(const struct places *s, uint64_t id)
{
	size_t i = sort_first_from(s->at, s->count, sizeof *s->at, id);
	return i < s->count && s->at[i].id == id ? &s->at[i] : NULL;
}

static bool index_ids(struct completion *c)
{
	const Pprof__Profile *p = c->p;
	if (!places_make(c, &c->mappings, p->n_mapping) || !places_make(c, &c->functions, p->n_function))
		return false;
	for (size_t i = 0; i < p->n_mapping; i++)
		c->mappings.at[i] = (struct place){p->mapping[i]->id, i};
	for (size_t i = 0; i < p->n_function; i++)
		c->functions.at[i] = (struct place){p->function[i]->id, i};
	qsort(c->mappings.at, p->n_mapping, sizeof *c->mappings.at, by_id);
	qsort(c->functions.at, p->n_function, sizeof *c->functions.at, by_id);
	c->next_id = p->n_function ? c->functions.at[p->n_function - 1].id + 1 : 1;
	return c->next_id < UINT64_MAX / 2 && c->next_id
	               ? true
	               : fail(c, "its functions have numbers that leave no room for more");
}

static const Pprof__Function *function_of(const struct completion *c, const Pprof__Line *line)
{
	const struct place *at = line->function_id ? place_of(&c->functions, line->function_id) : NULL;
	return at ? c->p->function[at->index] : NULL;
}

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
		const Pprof__Function *f = function_of(c, l->line[i]);
		const char *name = f ? text(c, f->name) : "";
		if (!*name || is_stopgap(name, text(c, m->filename)))
			return false;
	}
	return l->n_line > 0;
}

static bool is_complete(const struct completion *c, const Pprof__Location *l, const Pprof__Mapping *m)
{
	for (size_t i = 0; i < l->n_line; i++) {
		const Pprof__Function *f = function_of(c, l->line[i]);
		if (!f || !*text(c, f->filename) || l->line[i]->line == 0)
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
		return fail(c, no_memory);
	for (size_t i = 0; i < p->n_location; i++) {
		const Pprof__Location *l = p->location[i];
		const struct place *at = place_of(&c->mappings, l->mapping_id);
		const Pprof__Mapping *m = at ? p->mapping[at->index] : NULL;
		if (m && *text(c, m->filename) && is_inside(m, l->address) && !is_complete(c, l, m))
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
		fail(c, no_memory);
		return NULL;
	}
	f->count = count;
	for (size_t i = 0; i < count; i++)
		f->line[i] = (struct found_line){
			.name = string_of_file(c, a->frame[i].name),
			.system = string_of_file(c, a->frame[i].system),
			.file = string_of_file(c, a->frame[i].file),
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
		fail(c, no_memory);
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
	const char *file = text(c, m->filename), *id = text(c, m->build_id), *why = NULL;
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
			fprintf(c->notes, SYMBOLIZE_PROGRAM ": %s: %s\n", text(c, m->filename), object_note(o));
		object_close(o);
	}
	return !c->wrong;
}

/* --- functions ------------------------------------------------------------------------------------- */

static uint64_t hash_function(const Pprof__Function *f)
{
	const int64_t key[] = {f->name, f->system_name, f->filename, f->start_line};
	return hash_bytes(0, key, sizeof key);
}

static bool function_is(const void *all, uint32_t number, const void *it)
{
	const Pprof__Function *f = ((const Pprof__Profile *)all)->function[number], *g = it;
	return f->name == g->name && f->system_name == g->system_name && f->filename == g->filename &&
	       f->start_line == g->start_line && f->base.n_unknown_fields == 0;
}

static uint32_t *function_slot(const struct completion *c, const Pprof__Function *f)
{
	return table_slot(&c->by_contents, hash_function(f), function_is, c->p, f);
}

enum { LEFT = 1, USED = 2 };

/* Mark each function that is used by locations that get new lines (LEFT), and by others (USED). */
static void mark_functions(const struct completion *c, unsigned char *mark)
{
	for (size_t i = 0; i < c->p->n_location; i++)
		for (size_t k = 0; k < c->p->location[i]->n_line; k++) {
			const struct place *at = place_of(&c->functions, c->p->location[i]->line[k]->function_id);
			if (at)
				mark[at->index] |= c->found[i] ? LEFT : USED;
		}
}

static void index_function(struct completion *c, size_t number)
{
	uint32_t *slot = function_slot(c, c->p->function[number]);
	if (*slot)
		return;
	*slot = (uint32_t)number + 1;
	c->by_contents.count++;
}

/* Index the functions that stay by their contents. Functions that only old lines used become places for new ones, so
 * that the profile does not keep them and its numbers have no gaps. */
static bool index_functions(struct completion *c)
{
	size_t n = c->p->n_function;
	unsigned char *mark = calloc(n + 1, 1);
	c->spare = calloc(n + 1, sizeof *c->spare);
	if (!mark || !c->spare || n > UINT32_MAX / 8 || !table_renew(&c->by_contents, n)) {
		free(mark);
		return fail(c, no_memory);
	}
	mark_functions(c, mark);
	for (size_t i = n; i--;)
		if (mark[i] == LEFT && c->p->function[i]->base.n_unknown_fields == 0)
			c->spare[c->spares++] = i;
		else
			index_function(c, i);
	free(mark);
	return true;
}

static bool make_room_for_functions(struct completion *c)
{
	if (!table_is_full(&c->by_contents))
		return true;
	struct table old = c->by_contents;
	c->by_contents.slot = NULL;
	if (!table_renew(&c->by_contents, old.count)) {
		free(old.slot);
		return fail(c, no_memory);
	}
	for (size_t i = 0; i < old.cap; i++)
		if (old.slot[i])
			index_function(c, old.slot[i] - 1);
	free(old.slot);
	return true;
}

/* Add the function `like` (its id is ignored) to the profile. Returns its number; SIZE_MAX: no memory. */
static size_t add_function(struct completion *c, const Pprof__Function *like)
{
	Pprof__Profile *p = c->p;
	size_t number = p->n_function;
	if (c->spares) {
		number = c->spare[--c->spares];
		uint64_t id = p->function[number]->id;
		*p->function[number] = *like;
		p->function[number]->id = id;
		return number;
	}
	Pprof__Function *f = grow(c, &p->function, number, &c->function_cap) ? malloc(sizeof *f) : NULL;
	if (!f) {
		fail(c, no_memory);
		return SIZE_MAX;
	}
	*f = *like;
	f->id = c->next_id++;
	p->function[p->n_function++] = f;
	return number;
}

/* Returns the id of a line's function; 0: no memory. */
static uint64_t function_for(struct completion *c, const struct found_line *line)
{
	Pprof__Function like = PPROF__FUNCTION__INIT;
	like.name = line->name;
	like.system_name = line->system;
	like.filename = line->file;
	like.start_line = line->start_line;
	if (!make_room_for_functions(c))
		return 0;
	uint32_t *slot = function_slot(c, &like);
	if (!*slot) {
		size_t number = add_function(c, &like);
		if (number == SIZE_MAX)
			return 0;
		*slot = (uint32_t)number + 1;
		c->by_contents.count++;
	}
	return c->p->function[*slot - 1]->id;
}

/* --- lines ----------------------------------------------------------------------------------------- */

static Pprof__Line *new_line(struct completion *c, const struct found_line *from)
{
	Pprof__Line *line = malloc(sizeof *line);
	if (!line) {
		fail(c, no_memory);
		return NULL;
	}
	*line = (Pprof__Line)PPROF__LINE__INIT;
	line->function_id = function_for(c, from);
	line->line = from->line;
	return line;
}

static bool set_lines(struct completion *c, Pprof__Location *l, const struct found *f)
{
	Pprof__Line **lines = calloc(f->count, sizeof *lines);
	if (!lines)
		return fail(c, no_memory);
	for (size_t i = 0; i < l->n_line; i++)
		protobuf_c_message_free_unpacked(&l->line[i]->base, NULL);
	free(l->line);
	l->line = lines;
	for (l->n_line = 0; l->n_line < f->count && !c->wrong;) {
		lines[l->n_line] = new_line(c, &f->line[l->n_line]);
		l->n_line += lines[l->n_line] != NULL;
	}
	return !c->wrong;
}

static bool write_lines(struct completion *c)
{
	for (size_t i = 0; i < c->p->n_location; i++)
		if (c->found[i] && !set_lines(c, c->p->location[i], c->found[i]))
			return false;
	return true;
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
		const struct place *at = place_of(functions, l->line[k]->function_id);
		const Pprof__Function *f = at ? c->p->function[at->index] : NULL;
		flags->nameless |= !f || !*text(c, f->name);
		flags->files |= f && *text(c, f->filename);
		flags->lines |= l->line[k]->line != 0;
	}
}

static bool set_flags(struct completion *c)
{
	struct flags *flags = calloc(c->p->n_mapping + 1, sizeof *flags);
	free(c->functions.at);
	free(c->mappings.at);
	c->functions = c->mappings = (struct places){0};
	if (!flags || !index_ids(c)) {
		free(flags);
		return fail(c, no_memory);
	}
	for (size_t i = 0; i < c->p->n_location; i++) {
		const struct place *at = place_of(&c->mappings, c->p->location[i]->mapping_id);
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
	if (index_strings(&c) && index_ids(&c) && find_wanted(&c) && look_into_files(&c))
		if (index_functions(&c) && write_lines(&c))
			set_flags(&c);
	for (size_t i = 0; c.found && i < p->n_location; i++)
		free(c.found[i]);
	free(c.found);
	free(c.wanted);
	free(c.spare);
	free(c.mappings.at);
	free(c.functions.at);
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
