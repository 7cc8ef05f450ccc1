/* sort.c - Shell's sort, with gaps that shrink by 4/9 (Tokuda): no recursion, no memory, no libc.
 *
 * Runs in: listener; pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/sort.h"

#include <string.h>

#include "shim/base/pace.h"

enum { AT_ONCE = 1024 }; /* items between two calls of pace() */

void sort_items(void *items, size_t count, size_t bytes, bool (*before)(const void *a, const void *b))
{
	_Alignas(16) char moving[SORT_ITEM_MAX];
	char *at = items;
	size_t moved = 0;
	for (size_t gap = count; gap > 1;) {
		gap = gap * 4 / 9 ? gap * 4 / 9 : 1;
		for (size_t i = gap; i < count; i++) {
			size_t k = i;
			memcpy(moving, at + i * bytes, bytes);
			for (; k >= gap && before(moving, at + (k - gap) * bytes); k -= gap)
				memcpy(at + k * bytes, at + (k - gap) * bytes, bytes);
			memcpy(at + k * bytes, moving, bytes);
			if (++moved % AT_ONCE == 0)
				pace(); /* always sort to the end: a half-sorted array is of no use */
		}
	}
}
