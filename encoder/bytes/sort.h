/* sort.h - sort an array without libc (qsort may allocate), and find things in it.
 *
 * Runs in: listener; pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SORT_H
#define PPROFSHIM_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SORT_ITEM_MAX = 256 };

/* Sort `count` items of `bytes` bytes each (at most SORT_ITEM_MAX). before(a, b) says that a belongs before b. Not
 * stable. A task (pace.h) gives way to others while it sorts. */
void sort_items(void *items, size_t count, size_t bytes, bool (*before)(const void *a, const void *b));

/* Search items that begin with a 64-bit number and are sorted by it.
 * Returns the index of the first item whose number is at least `number`; count: there is none. */
static inline size_t sort_first_from(const void *items, size_t count, size_t bytes, uint64_t number)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint64_t its;
		memcpy(&its, (const char *)items + middle * bytes, sizeof its);
		if (its < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

#endif
