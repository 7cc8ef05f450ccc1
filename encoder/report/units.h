/* units.h - values of profiles as people read them: 1536 bytes are 1.50kB.
 *
 * Runs in: pprofshim.
 *
 * Source of the units, and of where which is taken: the package measurement of google/pprof, as the numbers are to be
 * those of `go tool pprof`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UNITS_H
#define PPROFSHIM_UNITS_H

#include <stddef.h>
#include <stdint.h>

enum { UNITS_TEXT = 48 };

/* Returns the unit for all values of a table, a constant string, if they have the unit `of` and the smallest and the
 * largest are these; `of` itself where there is none to choose. */
const char *units_choose(const char *of, int64_t smallest, int64_t largest);

/* Write a value of unit `of` in the unit `in`: "1.50kB". Returns `to`. */
const char *units_label(char to[UNITS_TEXT], int64_t value, const char *of, const char *in);

/* Write the share of a total, six columns wide: "12.50%". Returns `to`. */
const char *units_share(char to[UNITS_TEXT], int64_t value, int64_t total);

/* Returns a value without its sign; the most negative one becomes the largest. */
int64_t units_size(int64_t value);

#endif
