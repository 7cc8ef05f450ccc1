/* table.h - the table of a profile: functions, or lines, with what was counted in them and below them.
 *
 * Runs in: pprofshim.
 *
 * Source of the numbers, of what is left out and of the order: the text report of google/pprof.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TABLE_H
#define PPROFSHIM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/profile/profile.pb-c.h"
#include "shim/base/arena.h"

/* How a function was called: never, sometimes or always inlined. */
enum table_inlined { TABLE_CALLED, TABLE_PARTLY_INLINED, TABLE_INLINED };

struct table_row {
	const char *name; /* of a function, with file and line if rows are lines; of an object in brackets */
	const char *function, *file;
	int64_t line;      /* of the row; where rows are functions, that where the function begins. 0: not known */
	int64_t flat, cum; /* in the function itself; and in what it called */
	enum table_inlined inlined;
};

struct table {
	struct region region;
	struct table_row *row; /* those that are shown, in order */
	size_t count, all;     /* shown, and in all */
	int64_t total;         /* what is 100 % */
	const char *type, *of; /* of the values: "inuse_space", "bytes" */
	const char *in;        /* the unit in which they are shown */
};

struct table_options {
	size_t type;       /* index of the sample type */
	int64_t total;     /* recording_total, of before samples were left out */
	bool lines;        /* rows are lines, not functions */
	bool by_cum;       /* the order is that of cum */
	size_t most;       /* rows; 0: all */
	double fraction;   /* rows whose cum is less than that part of all that is shown are left out */
	const char *label; /* rows are the values of this label; NULL: they are functions */
};

/* Make the table of a profile (one of recording.h). Strings stay the profile's. table_free gives it back.
 * Returns false: there is no memory. */
bool table_make(struct table *t, const Pprof__Profile *p, const struct table_options *o);
void table_free(struct table *t);

#endif
