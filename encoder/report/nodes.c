/* nodes.c - what rows of a table stand for.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "encoder/report/nodes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/intern.h"

/* What makes two frames one row. The numbers are those of strings; a file is one of `files`. */
struct frame_key {
	int64_t name, object, line, start_line, file;
};

struct numbering {
	struct nodes *n;
	struct region *r;
	const Pprof__Profile *p;
	struct intern keys, files;
	bool lines, failed;
};

static void *copy_of(struct numbering *g, const void *bytes, size_t len)
{
	char *copy = region_alloc(g->r, len + 1);
	g->failed |= !copy;
	return copy ? memcpy(copy, bytes, len) : NULL;
}

/* Returns the number of a key; *is_new: it was not there. */
static size_t number_of(struct numbering *g, struct intern *t, const void *bytes, size_t len, bool *is_new)
{
	int64_t known = intern_find(t, (struct span){bytes, len});
	*is_new = false;
	if (known >= 0)
		return (size_t)known;
	const char *copy = copy_of(g, bytes, len);
	int64_t number = copy ? intern(t, g->r, (struct span){copy, len}, is_new) : -1;
	g->failed |= number < 0;
	return number < 0 ? 0 : (size_t)number;
}

/* --- texts ----------------------------------------------------------------------------------------- */

/* Cut the last folder off a path under construction, unless it is ".." itself. Returns the new end. */
static char *leave_folder(char *path, char *end, bool rooted)
{
	char *slash = end;
	while (slash > path && slash[-1] != '/')
		slash--;
	bool is_up = end - slash == 2 && slash[0] == '.' && slash[1] == '.';
	if (end == path || is_up) {
		if (rooted && end == path)
			return end;
		if (end != path)
			*end++ = '/';
		return stpcpy(end, "..");
	}
	return slash > path ? slash - 1 : path;
}

/* Write a path without "//", "." and "..", as Go's filepath.Clean does; `to` has room for it and two more. */
static void clean_path(char *to, const char *path)
{
	bool rooted = *path == '/';
	char *begin = to + rooted, *end = begin;
	if (rooted)
		*to = '/';
	while (*path) {
		size_t len = strcspn(path, "/");
		if (len == 2 && path[0] == '.' && path[1] == '.') {
			end = leave_folder(begin, end, rooted);
		} else if (len && !(len == 1 && *path == '.')) {
			if (end != begin)
				*end++ = '/';
			end = mempcpy(end, path, len);
		}
		path += len + (path[len] == '/');
	}
	*end = '\0';
	if (end == begin && !rooted)
		strcpy(to, ".");
}

/* Returns a file's clean path, which lasts as long as the region; "" where there is none. */
static const char *clean_file(struct numbering *g, const char *file)
{
	if (!*file)
		return "";
	char *clean = region_alloc(g->r, strlen(file) + 3);
	g->failed |= !clean;
	if (!clean)
		return "";
	clean_path(clean, file);
	return strncmp(clean, "/proc/self/cwd/", 15) == 0 ? clean + 15 : clean;
}

/* The same as a number, by which equal files are known. */
static int64_t file_number(struct numbering *g, const char *clean)
{
	bool is_new;
	return (int64_t)number_of(g, &g->files, clean, strlen(clean), &is_new);
}

static const char *name_of_object(struct numbering *g, const char *path)
{
	const char *base = strrchr(path, '/');
	char *name = NULL;
	if (!*path)
		return "<unknown>";
	int n = asprintf(&name, "[%s]", base ? base + 1 : path);
	const char *copy = n < 0 ? NULL : copy_of(g, name, (size_t)n);
	if (n >= 0)
		free(name);
	return copy ? copy : "";
}

static const char *name_with_line(struct numbering *g, const char *function, const char *file, int64_t line)
{
	char number[24] = "", *name;
	if (line)
		snprintf(number, sizeof number, ":%" PRId64, line);
	int n = asprintf(&name, "%s%s%s%s", function, *function ? " " : "", file, number);
	const char *copy = n < 0 ? NULL : copy_of(g, name, (size_t)n);
	if (n >= 0)
		free(name);
	return copy ? copy : "";
}

/* --- frames ---------------------------------------------------------------------------------------- */

/* A row is added at the end of what has room for all. */
static void put_row(struct numbering *g, size_t number, bool is_new, struct table_row row)
{
	if (!is_new || g->failed)
		return;
	g->n->row[number] = row;
	g->n->count = number + 1;
}

static uint32_t number_object(struct numbering *g, const Pprof__Location *l)
{
	int64_t object = l->mapping_id ? g->p->mapping[l->mapping_id - 1]->filename : 0;
	const struct frame_key key = {.name = -1, .object = object};
	bool is_new;
	size_t number = number_of(g, &g->keys, &key, sizeof key, &is_new);
	if (is_new)
		put_row(g, number, is_new,
		        (struct table_row){
				.name = name_of_object(g, g->p->string_table[object]), .function = "", .file = ""});
	return (uint32_t)number;
}

static struct table_row row_of(struct numbering *g, const Pprof__Function *f, const char *file, int64_t line,
                               int64_t object)
{
	const char *function = g->p->string_table[f->name];
	struct table_row row = {.name = function, .function = function, .file = file, .line = line};
	if (g->lines && (line || *file))
		row.name = name_with_line(g, function, file, line);
	else if (!*function)
		row.name = name_of_object(g, g->p->string_table[object]);
	if (!g->lines) {
		row.file = clean_file(g, g->p->string_table[f->filename]);
		row.line = f->start_line;
	}
	return row;
}

static uint32_t number_line(struct numbering *g, const Pprof__Location *l, const Pprof__Line *line)
{
	const Pprof__Function *f = g->p->function[line->function_id - 1];
	bool nameless = !*g->p->string_table[f->name], is_new;
	const char *file = g->lines ? clean_file(g, g->p->string_table[f->filename]) : "";
	int64_t object = nameless && l->mapping_id ? g->p->mapping[l->mapping_id - 1]->filename : 0;
	const struct frame_key key = {
		.name = f->name,
		.object = object,
		.line = g->lines ? line->line : 0,
		.start_line = nameless ? f->start_line : 0,
		.file = file_number(g, file),
	};
	size_t number = number_of(g, &g->keys, &key, sizeof key, &is_new);
	if (is_new)
		put_row(g, number, is_new, row_of(g, f, file, key.line, object));
	return (uint32_t)number;
}

static size_t count_frames(struct nodes *n, const Pprof__Profile *p)
{
	size_t frames = 0;
	for (size_t i = 0; i < p->n_location; i++) {
		n->first[i] = frames;
		frames += p->location[i]->n_line ? p->location[i]->n_line : 1;
	}
	n->first[p->n_location] = frames;
	return frames;
}

static void number_location(struct numbering *g, size_t i)
{
	const Pprof__Location *l = g->p->location[i];
	uint32_t *of = &g->n->of[g->n->first[i]];
	if (l->n_line == 0)
		*of = number_object(g, l);
	for (size_t k = 0; k < l->n_line; k++)
		of[k] = number_line(g, l, l->line[k]);
}

bool nodes_of_frames(struct nodes *n, struct region *r, const Pprof__Profile *p, bool lines)
{
	struct numbering g = {.n = n, .r = r, .p = p, .lines = lines};
	*n = (struct nodes){.first = region_alloc(r, (p->n_location + 1) * sizeof *n->first)};
	if (!n->first)
		return false;
	size_t frames = count_frames(n, p);
	n->of = region_alloc(r, (frames + 1) * sizeof *n->of);
	n->row = region_alloc(r, (frames + 1) * sizeof *n->row);
	if (!n->of || !n->row)
		return false;
	for (size_t i = 0; i < p->n_location && !g.failed; i++)
		number_location(&g, i);
	return !g.failed;
}

/* --- labels ---------------------------------------------------------------------------------------- */

static const char *value_of(struct numbering *g, const Pprof__Label *l)
{
	char number[64];
	if (l->str)
		return g->p->string_table[l->str];
	int n = snprintf(number, sizeof number, "%" PRId64, l->num);
	const char *copy = copy_of(g, number, (size_t)n);
	return copy ? copy : "";
}

static const char *label_of(struct numbering *g, const Pprof__Sample *s, const char *label)
{
	for (size_t i = 0; i < s->n_label; i++)
		if (strcmp(g->p->string_table[s->label[i]->key], label) == 0)
			return value_of(g, s->label[i]);
	return "(none)";
}

bool nodes_of_label(struct nodes *n, struct region *r, const Pprof__Profile *p, const char *label)
{
	struct numbering g = {.n = n, .r = r, .p = p};
	*n = (struct nodes){.of = region_alloc(r, (p->n_sample + 1) * sizeof *n->of),
	                    .row = region_alloc(r, (p->n_sample + 1) * sizeof *n->row)};
	if (!n->of || !n->row)
		return false;
	for (size_t i = 0; i < p->n_sample && !g.failed; i++) {
		const char *value = label_of(&g, p->sample[i], label);
		bool is_new;
		size_t number = number_of(&g, &g.keys, value, strlen(value), &is_new);
		n->of[i] = (uint32_t)number;
		put_row(&g, number, is_new, (struct table_row){.name = value, .function = "", .file = ""});
	}
	return !g.failed;
}
