/* merge.h - several profiles become one, as pprof merges them.
 *
 * Runs in: pprofshim-symbolize. Profiles may come from anybody: what is wrong with one is a reason to leave it out.
 *
 * Equal are: mappings of one size, offset and build id (or file, where there is none); functions whose names, file and
 * first line are equal; locations of one mapping, address in it and lines; samples of one stack and the same labels.
 * The values of equal samples are added. Samples of only zeros are left out, with what they alone used. The first
 * profile says what the samples mean; one with other types is refused. The time is the earliest, the duration the sum,
 * the period the longest.
 *
 * Source of these rules: the merging of google/pprof, and what `go tool pprof -proto a b` writes. They differ from it
 * where mappings are equal and one of them lacks names: then the result does not claim to have all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MERGE_H
#define PPROFSHIM_MERGE_H

#include <stdbool.h>
#include <stddef.h>

#include "encoder/profile/profile.pb-c.h"

struct merge;

/* A label for every sample of a profile. It replaces the profile's own text labels of that key. */
struct merge_label {
	const char *key, *value;
};

/* Begin with no profile. The merge lies in the arena, whose limit is that of a merge (arena_set_limit).
 * Returns NULL: no memory. */
struct merge *merge_new(void);
void merge_free(struct merge *m);

/* Add a profile; nothing of it is kept by reference. If memory ends within it, *lost is the number of its samples that
 * are not in the result.
 * Returns NULL, or why it was left out, a constant string. */
const char *merge_add(struct merge *m, const Pprof__Profile *p, const struct merge_label *label, size_t labels,
                      size_t *lost);

/* Returns how many profiles were added. */
size_t merge_count(const struct merge *m);

/* Add a comment of our own, after those of the profiles. It is UTF-8. */
void merge_note(struct merge *m, const char *text);

/* Write the result, gzipped, to a descriptor. At least one profile must have been added.
 * Returns NULL, or what is wrong. */
const char *merge_write(const struct merge *m, int fd);

#endif
