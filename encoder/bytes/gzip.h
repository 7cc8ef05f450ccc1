/* gzip.h - compress a stream into an out. zlib, level 1: the program's CPU time matters more than the size.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GZIP_H
#define PPROFSHIM_GZIP_H

#include <stddef.h>
#include <zlib.h>

#include "encoder/bytes/out.h"

struct gzip {
	z_stream z;
	struct out *out;
	unsigned char buf[4096];
};

/* Begin a stream. The struct must not move before gzip_end. Returns 0, or -ENOMEM. */
int gzip_begin(struct gzip *g, struct region *r, struct out *o);
void gzip_bytes(struct gzip *g, const void *p, size_t n);
void gzip_end(struct gzip *g);

#endif
