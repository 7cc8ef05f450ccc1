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

/* Sort count items of `bytes` bytes (at most SORT_ITEM_MAX) so that no item comes before one that is before() it. Not
 * stable. A task (pace.h) gives way meanwhile. */
void sort_items(void *items, size_t count, size_t bytes, bool (*before)(const void *a, const void *b));

/* Of items that ascend by the 64-bit number that each begins with: the index of the first whose number is not below
 * `number`; count: there is none. */
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
