/* fill_lines.c - write the lines that were found into a profile, with the functions that they need.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/completion.h"

#include <stdlib.h>

/* --- functions ------------------------------------------------------------------------------------- */

static uint64_t hash_function(const Pprof__Function *f)
{
	const int64_t key[] = {f->name, f->system_name, f->filename, f->start_line};
	return completion_hash(0, key, sizeof key);
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
			const struct place *at = places_find(&c->functions, c->p->location[i]->line[k]->function_id);
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
bool completion_index_functions(struct completion *c)
{
	size_t n = c->p->n_function;
	unsigned char *mark = calloc(n + 1, 1);
	c->spare = calloc(n + 1, sizeof *c->spare);
	if (!mark || !c->spare || n > UINT32_MAX / 8 || !table_renew(&c->by_contents, n)) {
		free(mark);
		return completion_fail(c, COMPLETION_NO_MEMORY);
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
		return completion_fail(c, COMPLETION_NO_MEMORY);
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
	Pprof__Function *f = completion_grow(c, &p->function, number, &c->function_cap) ? malloc(sizeof *f) : NULL;
	if (!f) {
		completion_fail(c, COMPLETION_NO_MEMORY);
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
		completion_fail(c, COMPLETION_NO_MEMORY);
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
		return completion_fail(c, COMPLETION_NO_MEMORY);
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

bool completion_write_lines(struct completion *c)
{
	for (size_t i = 0; i < c->p->n_location; i++)
		if (c->found[i] && !set_lines(c, c->p->location[i], c->found[i]))
			return false;
	return true;
}
