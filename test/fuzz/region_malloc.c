/* region_malloc.c - shim/base/arena.c for fuzz targets: every piece is one of malloc's, so that AddressSanitizer sees
 * its ends.
 *
 * Runs in: fuzz targets, in place of shim/base/arena.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "shim/base/arena.h"

struct region_chunk {
	struct region_chunk *older;
	size_t bytes;
	char *piece; /* by itself: nothing of ours lies beside it */
};

static uint64_t limit_bytes = 64u << 20, used_bytes;

void arena_set_limit(uint64_t bytes)
{
	limit_bytes = bytes;
}

/* For pace.c, which has no tasks here. */
int arena_charge_request(size_t bytes)
{
	(void)bytes;
	return -1;
}

void arena_uncharge_request(size_t bytes)
{
	(void)bytes;
}

void *region_alloc(struct region *r, size_t bytes)
{
	if (bytes > SIZE_MAX / 2 || bytes > limit_bytes || used_bytes > limit_bytes - bytes)
		return NULL;
	struct region_chunk *c = malloc(sizeof *c);
	if (!c || !(c->piece = calloc(1, bytes)))
		abort();
	c->older = r->chunks;
	c->bytes = bytes;
	r->chunks = c;
	used_bytes += bytes;
	return c->piece;
}

struct region_mark region_mark(const struct region *r)
{
	return (struct region_mark){r->chunks, 0};
}

void region_rewind(struct region *r, struct region_mark m)
{
	while (r->chunks != m.chunk) {
		struct region_chunk *c = r->chunks;
		r->chunks = c->older;
		used_bytes -= c->bytes;
		free(c->piece);
		free(c);
	}
}

void region_release(struct region *r)
{
	region_rewind(r, (struct region_mark){0});
}
