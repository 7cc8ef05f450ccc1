/* write.c - a merge as a profile.
 *
 * Runs in: pprofshim-symbolize.
 *
 * The file is a series of small protobuf messages; a reader sees one profile. Each mapping, function, location and
 * string is written before its first use. So ids are 1, 2, 3 … in the order of the file (strings: from 0), as some
 * readers need them. Functions and locations that no sample uses are not written; nor are such mappings, but for the
 * first (the program).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "encoder/merge/merged.h"
#include "encoder/saved/profile_file.h"

static const char no_memory[] = "there is not enough memory to write it";

/* For each thing of the merge its number in the file. 0: not written yet. (The number of a string is one less.) */
struct ids {
	uint32_t *of, last;
};

struct writing {
	const struct merge *m;
	struct profile_writer *to;
	struct ids strings, mappings, functions, locations;
	uint64_t *stack;
	Pprof__Label *label, **labels;
	Pprof__Line *line, **lines;
	size_t stack_most, labels_most, lines_most;
};

static bool ids_make(struct ids *s, const struct numbered *n)
{
	s->of = calloc(merged_count(n) + 1, sizeof *s->of);
	return s->of != NULL;
}

/* --- strings --------------------------------------------------------------------------------------- */

/* Returns the number in the file of a text, which is written. */
static int64_t write_text(struct writing *w, const char *text)
{
	Pprof__Profile part = PPROF__PROFILE__INIT;
	char *string[] = {(char *)(uintptr_t)text}; /* protobuf-c only reads it */
	part.string_table = string, part.n_string_table = 1;
	profile_writer_part(w->to, &part);
	return w->strings.last++;
}

static int64_t string(struct writing *w, uint64_t number)
{
	uint32_t *id = &w->strings.of[number];
	if (!*id)
		*id = (uint32_t)write_text(w, w->m->strings.key[number].at) + 1;
	return *id - 1;
}

/* --- mappings, functions, locations ---------------------------------------------------------------- */

static void write_mapping(struct writing *w, uint64_t number, uint64_t id)
{
	const struct mapping_rest *r = &w->m->mapping[number];
	struct mapping_key key;
	memcpy(&key, w->m->mappings.key[number].at, sizeof key);
	Pprof__Mapping m = PPROF__MAPPING__INIT, *all[] = {&m};
	Pprof__Profile part = PPROF__PROFILE__INIT;
	m.id = id;
	m.memory_start = r->start, m.memory_limit = r->limit, m.file_offset = key.offset;
	m.filename = string(w, r->file), m.build_id = string(w, r->build_id);
	m.has_functions = r->has_functions, m.has_filenames = r->has_filenames;
	m.has_line_numbers = r->has_line_numbers, m.has_inline_frames = r->has_inline_frames;
	part.mapping = all, part.n_mapping = 1;
	profile_writer_part(w->to, &part);
}

static uint64_t mapping(struct writing *w, uint64_t number)
{
	uint32_t *id = &w->mappings.of[number];
	if (!*id) {
		*id = ++w->mappings.last;
		write_mapping(w, number, *id);
	}
	return *id;
}

static void write_function(struct writing *w, uint64_t number, uint64_t id)
{
	struct function_key key;
	memcpy(&key, w->m->functions.key[number].at, sizeof key);
	Pprof__Function f = PPROF__FUNCTION__INIT, *all[] = {&f};
	Pprof__Profile part = PPROF__PROFILE__INIT;
	f.id = id;
	f.name = string(w, key.name), f.system_name = string(w, key.system), f.filename = string(w, key.file);
	f.start_line = key.start_line;
	part.function = all, part.n_function = 1;
	profile_writer_part(w->to, &part);
}

static uint64_t function(struct writing *w, uint64_t number)
{
	uint32_t *id = &w->functions.of[number];
	if (!*id) {
		*id = ++w->functions.last;
		write_function(w, number, *id);
	}
	return *id;
}

static size_t lines_of(struct span key)
{
	return (key.len - sizeof(struct location_key)) / sizeof(struct line_key);
}

static void write_location(struct writing *w, const struct location_key *key, size_t lines, uint64_t id)
{
	Pprof__Location l = PPROF__LOCATION__INIT, *all[] = {&l};
	Pprof__Profile part = PPROF__PROFILE__INIT;
	l.id = id;
	l.mapping_id = key->mapping ? mapping(w, key->mapping - 1) : 0;
	l.address = key->address + (key->mapping ? w->m->mapping[key->mapping - 1].start : 0);
	l.is_folded = key->folded != 0;
	for (size_t i = 0; i < lines; i++) {
		w->line[i] = (Pprof__Line)PPROF__LINE__INIT;
		w->line[i].function_id = function(w, key->line[i].function);
		w->line[i].line = key->line[i].line;
		w->line[i].column = key->line[i].column;
	}
	l.line = w->lines, l.n_line = lines;
	part.location = all, part.n_location = 1;
	profile_writer_part(w->to, &part);
}

static uint64_t location(struct writing *w, uint32_t number)
{
	uint32_t *id = &w->locations.of[number];
	if (!*id) {
		struct span key = w->m->locations.key[number]; /* aligned: the region's pieces are */
		*id = ++w->locations.last;
		write_location(w, (const void *)key.at, lines_of(key), *id);
	}
	return *id;
}

/* --- samples --------------------------------------------------------------------------------------- */

static void set_label(struct writing *w, size_t i, const uint32_t *words)
{
	struct label_key key;
	Pprof__Label *l = &w->label[i];
	memcpy(&key, words, sizeof key);
	*l = (Pprof__Label)PPROF__LABEL__INIT;
	l->key = string(w, key.key);
	if (key.kind == LABEL_TEXT) {
		l->str = string(w, key.low);
		return;
	}
	l->num = (int64_t)((uint64_t)key.high << 32 | key.low);
	l->num_unit = string(w, key.unit);
}

static size_t labels_of(struct span key)
{
	const uint32_t *words = (const void *)key.at;
	return (key.len / sizeof *words - 1 - words[0]) / LABEL_WORDS;
}

static void write_sample(struct writing *w, struct span key, int64_t *values)
{
	const uint32_t *words = (const void *)key.at;
	Pprof__Sample s = PPROF__SAMPLE__INIT, *all[] = {&s};
	Pprof__Profile part = PPROF__PROFILE__INIT;
	s.n_location_id = words[0], s.n_value = w->m->types, s.n_label = labels_of(key);
	for (size_t i = 0; i < s.n_location_id; i++)
		w->stack[i] = location(w, words[1 + i]);
	for (size_t i = 0; i < s.n_label; i++)
		set_label(w, i, words + 1 + words[0] + i * LABEL_WORDS);
	s.location_id = w->stack, s.value = values, s.label = w->labels;
	part.sample = all, part.n_sample = 1;
	profile_writer_part(w->to, &part);
}

static bool is_zero(const int64_t *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (values[i])
			return false;
	return true;
}

static void write_samples(struct writing *w)
{
	const struct merge *m = w->m;
	for (size_t i = 0; i < merged_count(&m->samples) && i < m->values_cap; i++)
		if (!is_zero(m->values + i * m->types, m->types))
			write_sample(w, m->samples.key[i], m->values + i * m->types);
}

/* --- the rest -------------------------------------------------------------------------------------- */

static Pprof__ValueType type_of(struct writing *w, struct value_type t)
{
	Pprof__ValueType type = PPROF__VALUE_TYPE__INIT;
	type.type = string(w, t.type);
	type.unit = string(w, t.unit);
	return type;
}

static void write_types(struct writing *w)
{
	for (size_t i = 0; i < w->m->types; i++) {
		Pprof__ValueType type = type_of(w, w->m->type[i]), *all[] = {&type};
		Pprof__Profile part = PPROF__PROFILE__INIT;
		part.sample_type = all, part.n_sample_type = 1;
		profile_writer_part(w->to, &part);
	}
}

static void write_comment(struct writing *w, int64_t number)
{
	Pprof__Profile part = PPROF__PROFILE__INIT;
	part.comment = &number, part.n_comment = 1;
	profile_writer_part(w->to, &part);
}

static void write_comments(struct writing *w)
{
	const struct merge *m = w->m;
	for (size_t i = 0; i < merged_count(&m->comments); i++) {
		uint32_t text;
		memcpy(&text, m->comments.key[i].at, sizeof text);
		write_comment(w, string(w, text));
	}
	for (size_t i = 0; i < m->notes; i++)
		write_comment(w, write_text(w, m->note[i]));
}

static void write_head(struct writing *w)
{
	const struct merge *m = w->m;
	Pprof__Profile part = PPROF__PROFILE__INIT;
	Pprof__ValueType period_type = type_of(w, m->period_type);
	part.drop_frames = string(w, m->drop_frames), part.keep_frames = string(w, m->keep_frames);
	part.time_nanos = m->time_ns, part.duration_nanos = m->duration_ns;
	part.period_type = &period_type, part.period = m->period;
	part.default_sample_type = string(w, m->default_type), part.doc_url = string(w, m->doc_url);
	profile_writer_part(w->to, &part);
}

/* --- the whole ------------------------------------------------------------------------------------- */

static size_t more(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void *pointers_to(void *items, size_t bytes, size_t count)
{
	char **pointer = items ? calloc(count + 1, sizeof *pointer) : NULL;
	for (size_t i = 0; pointer && i < count; i++)
		pointer[i] = (char *)items + i * bytes;
	return pointer;
}

/* Make room for the largest sample and location. */
static bool make_room(struct writing *w)
{
	const struct merge *m = w->m;
	for (size_t i = 0; i < merged_count(&m->samples); i++) {
		w->stack_most = more(w->stack_most, *(const uint32_t *)(const void *)m->samples.key[i].at);
		w->labels_most = more(w->labels_most, labels_of(m->samples.key[i]));
	}
	for (size_t i = 0; i < merged_count(&m->locations); i++)
		w->lines_most = more(w->lines_most, lines_of(m->locations.key[i]));
	w->stack = calloc(w->stack_most + 1, sizeof *w->stack);
	w->label = calloc(w->labels_most + 1, sizeof *w->label);
	w->labels = pointers_to(w->label, sizeof *w->label, w->labels_most);
	w->line = calloc(w->lines_most + 1, sizeof *w->line);
	w->lines = pointers_to(w->line, sizeof *w->line, w->lines_most);
	return w->stack && w->labels && w->lines && ids_make(&w->strings, &m->strings) &&
	       ids_make(&w->mappings, &m->mappings) && ids_make(&w->functions, &m->functions) &&
	       ids_make(&w->locations, &m->locations);
}

static void write_all(struct writing *w)
{
	string(w, 0); /* "" comes first */
	write_types(w);
	if (merged_count(&w->m->mappings) && w->m->mapping_cap)
		mapping(w, 0);
	write_samples(w);
	write_head(w);
	write_comments(w);
}

const char *merge_write(const struct merge *m, int fd)
{
	struct writing w = {.m = m};
	const char *wrong = no_memory;
	if (make_room(&w) && (w.to = profile_writer_new(fd))) {
		write_all(&w);
		wrong = profile_writer_end(w.to);
	}
	free(w.stack);
	free(w.label);
	free(w.labels);
	free(w.line);
	free(w.lines);
	free(w.strings.of);
	free(w.mappings.of);
	free(w.functions.of);
	free(w.locations.of);
	return wrong;
}
