/* merged.h - what a merge holds: everything that occurs in several profiles once, by number.
 *
 * Runs in: pprofshim-symbolize. Included by the parts of merge.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MERGED_H
#define PPROFSHIM_MERGED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/bytes/intern.h"
#include "encoder/merge/merge.h"
#include "encoder/saved/places.h"
#include "shim/base/arena.h"

/* Things that are equal if their bytes are, numbered 0, 1, 2 … */
struct numbered {
	struct intern table;
	struct span *key; /* by number */
	size_t cap;
};

/* The bytes of a mapping. */
struct mapping_key {
	uint64_t size, offset; /* the size in whole pages */
	uint64_t text;         /* number of a string: the build id, or the file */
};

/* All else of a mapping: that of the first one. */
struct mapping_rest {
	uint64_t start, limit;
	uint32_t file, build_id;
	bool has_functions, has_filenames, has_line_numbers, has_inline_frames;
};

/* The bytes of a function: numbers of strings, and a line. */
struct function_key {
	uint64_t name, system, file;
	int64_t start_line;
};

struct line_key {
	uint64_t function;
	int64_t line, column;
};

/* The bytes of a location. */
struct location_key {
	uint64_t mapping; /* its number + 1; 0: none */
	uint64_t address; /* in the mapping, which lies elsewhere in each process */
	uint64_t folded;
	struct line_key line[];
};

/* The bytes of a sample are 32-bit words: the number of locations, their numbers (leaf first), then its labels: sorted,
 * five words each. */
enum label_kind { LABEL_TEXT, LABEL_NUMBER };

struct label_key {
	uint32_t kind, key; /* key and unit, and low of a text: numbers of strings */
	uint32_t low, high, unit;
};

enum { LABEL_WORDS = sizeof(struct label_key) / sizeof(uint32_t) };

struct value_type {
	uint32_t type, unit;
};

struct merge {
	struct region region;
	bool full; /* memory ended; nothing more is taken in */
	size_t count;

	struct numbered strings, mappings, functions, locations, samples, comments;
	struct mapping_rest *mapping; /* by number */
	int64_t *values;              /* of sample n: from n * types on */
	size_t mapping_cap, values_cap;

	/* of the first profile, but for the numbers */
	struct value_type *type, period_type;
	size_t types;
	uint32_t drop_frames, keep_frames, default_type, doc_url;
	int64_t time_ns, duration_ns, period;

	char **note;
	size_t notes, notes_cap;
};

/* --- tables.c -------------------------------------------------------------------------------------- */

/* Returns the number of a thing with these bytes, which are copied if they are new. If there is no memory, m->full is
 * set; the number is 0 then. */
uint32_t merged_number(struct merge *m, struct numbered *n, const void *bytes, size_t len);

/* The same for a text, made well-formed UTF-8; NUL-terminated among the keys. */
uint32_t merged_string(struct merge *m, const char *text);

/* Returns an array in m's region with room for item `number` of `bytes` bytes; NULL: no memory, m->full is set. */
void *merged_room(struct merge *m, void *array, size_t *cap, size_t number, size_t bytes);

static inline size_t merged_count(const struct numbered *n)
{
	return n->table.count;
}

/* --- source.c -------------------------------------------------------------------------------------- */

/* A profile while it is taken in. The arrays say, by place, which number + 1 a thing has in the merge; 0: none yet. */
struct source {
	const Pprof__Profile *p;
	struct places mapping_places, function_places, location_places;
	uint32_t *string, *mapping, *function, *location;
};

/* Look at all of a profile: do its numbers lead somewhere, is each id used once?
 * Returns NULL, or what is wrong. source_close must follow in any case. */
const char *source_open(struct source *s, const Pprof__Profile *p);
void source_close(struct source *s);

/* --- headers.c ------------------------------------------------------------------------------------- */

/* Returns NULL if the profile's samples mean what those of the first one do, else why not. The first one decides. */
const char *headers_agree(struct merge *m, const Pprof__Profile *p);

/* Take in what is not of samples: time, period, comments, … */
void headers_add(struct merge *m, const struct source *s);

#endif
