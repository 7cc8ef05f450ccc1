/* sort.h - sort an array without libc: qsort may allocate.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SORT_H
#define PPROFSHIM_SORT_H

#include <stdbool.h>
#include <stddef.h>

enum { SORT_ITEM_MAX = 256 };

/* Sort count items of `bytes` bytes (at most SORT_ITEM_MAX) so that no item comes before one that is before() it. Not
 * stable. */
void sort_items(void *items, size_t count, size_t bytes, bool (*before)(const void *a, const void *b));

#endif
