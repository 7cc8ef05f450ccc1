/* libsized.c - an allocator's other ways to free, as a libc or an allocator of later years offers them.
 *
 * Runs in: free_sized.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

void free_sized(void *block, size_t size)
{
	(void)size;
	free(block);
}

void free_aligned_sized(void *block, size_t align, size_t size)
{
	(void)align, (void)size;
	free(block);
}

void cfree(void *block)
{
	free(block);
}
