/* gzip.c - compress a stream into an out.
 *
 * Runs in: listener. All memory from the request's region; zlib calls nothing of libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/gzip.h"

#include <errno.h>

enum { GZIP_WINDOW = 15 + 16 /* + 16: with gzip's header */, MEMORY_LEVEL = 8, LEVEL = 1 };

static void *alloc_from_region(void *region, unsigned count, unsigned bytes)
{
	return region_alloc(region, (size_t)count * bytes);
}

static void keep(void *region, void *p)
{
	(void)region, (void)p; /* the region is released as a whole */
}

int gzip_begin(struct gzip *g, struct region *r, struct out *o)
{
	g->out = o;
	g->z = (z_stream){.zalloc = alloc_from_region, .zfree = keep, .opaque = r};
	return deflateInit2(&g->z, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK ? 0
	                                                                                                     : -ENOMEM;
}

static void run(struct gzip *g, int flush)
{
	do {
		g->z.next_out = g->buf;
		g->z.avail_out = sizeof g->buf;
		deflate(&g->z, flush);
		out_bytes(g->out, g->buf, sizeof g->buf - g->z.avail_out);
	} while (g->z.avail_out == 0);
}

void gzip_bytes(struct gzip *g, const void *p, size_t n)
{
	g->z.next_in = (unsigned char *)p;
	g->z.avail_in = (unsigned)n;
	run(g, Z_NO_FLUSH);
}

void gzip_end(struct gzip *g)
{
	g->z.avail_in = 0;
	run(g, Z_FINISH);
	deflateEnd(&g->z);
}
