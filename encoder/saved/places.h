/* places.h - where in an array the message with an id stands.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PLACES_H
#define PPROFSHIM_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An id's place in an array of messages. Sorted by id, then by place. */
struct place {
	uint64_t id;
	size_t index;
};

struct places {
	struct place *at;
	size_t count;
};

/* Make room for `count` places, which the caller fills in; then places_sort. places_free gives it back.
 * Returns false: no memory. */
bool places_make(struct places *s, size_t count);
void places_sort(struct places *s);
void places_free(struct places *s);

/* Returns the first place of an id; NULL: there is none. */
const struct place *places_find(const struct places *s, uint64_t id);

#endif
