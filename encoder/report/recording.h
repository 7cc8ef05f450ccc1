/* recording.h - the profile that a report is about: one, or what is new in one against an older one.
 *
 * Runs in: pprofshim. Profiles may come from anybody.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RECORDING_H
#define PPROFSHIM_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/profile/profile.pb-c.h"

/* Make a profile that is checked, without samples that are equal or zero, and whose mappings, functions and locations
 * have the ids 1, 2, 3 … in their order. The samples of `older` (NULL: there is none) are in it with negated values and
 * the label RECORDING_BASE, as `go tool pprof -diff_base` has them. Both profiles stay the caller's; older's values are
 * changed.
 * Returns NULL, or what is wrong, a constant string; *of_older says with which. */
const char *recording_join(Pprof__Profile *now, Pprof__Profile *older, Pprof__Profile **joined, bool *of_older);

#define RECORDING_BASE "pprof::base"

/* Returns the index of a sample type by its name or number, NULL for the profile's own choice, as pprof's sample_index;
 * -1: it has no such type. */
int recording_type(const Pprof__Profile *p, const char *name);

/* Returns what is 100 %: the sum of all values without their signs, of the older profile's alone if there is one. */
int64_t recording_total(const Pprof__Profile *p, size_t type);

/* Returns a + b, wrapped around if that is too large: values may be anything. */
static inline int64_t recording_sum(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

#endif
