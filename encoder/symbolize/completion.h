/* completion.h - a profile that is being completed: its strings, functions and ids, by what they are.
 *
 * Runs in: pprofshim-symbolize. Included by the parts of fill_in.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_COMPLETION_H
#define PPROFSHIM_COMPLETION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/saved/places.h"
#include "encoder/symbolize/fill_in.h"

#define COMPLETION_NO_MEMORY "there is not enough memory for it"

/* Open addressing; at most half full. The owner of the table knows what its numbers stand for. */
struct table {
	uint32_t *slot; /* a number + 1; 0: free */
	size_t cap, count;
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

/* Note why the profile cannot be completed. Returns false. */
bool completion_fail(struct completion *c, const char *why);

/* Make room for one more in an array of `count` pointers. *cap is 0 at first: the array is then the profile's own. */
bool completion_grow(struct completion *c, void *array, size_t count, size_t *cap);

uint64_t completion_hash(uint64_t h, const void *p, size_t len);

/* Returns the slot of the number that `is_it` accepts, or the free slot where it belongs. The table must have room. */
uint32_t *table_slot(const struct table *t, uint64_t hash,
                     bool (*is_it)(const void *all, uint32_t number, const void *it), const void *all, const void *it);

/* Must the table grow before it takes one more? */
bool table_is_full(const struct table *t);

/* Replace the table by an empty one with room for `count` and some more. */
bool table_renew(struct table *t, size_t count);

/* Returns the string of that number; "" if there is none. */
const char *completion_text(const struct completion *c, int64_t number);

bool completion_index_strings(struct completion *c);

/* Returns the number of s, a text from a file. It may hold any bytes, but the profile's strings must be UTF-8. */
int64_t completion_string(struct completion *c, const char *s);

bool completion_index_ids(struct completion *c);

/* Returns the function of a line; NULL: it has none. */
const Pprof__Function *completion_function_of(const struct completion *c, const Pprof__Line *line);

/* Index the functions that stay. In fill_lines.c, as the next one. */
bool completion_index_functions(struct completion *c);

/* Write the lines that were found into their locations. */
bool completion_write_lines(struct completion *c);

#endif
