/* out.h - the output of a request: a growing chain of chunks in the request's region.
 *
 * Runs in: listener. One owner, no lock, no libc but mem*.
 * A write that finds no memory marks the out as failed; the caller checks that once, at the end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OUT_H
#define PPROFSHIM_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/text.h"

struct out_chunk {
	struct out_chunk *next;
	size_t used;
	size_t cap;
	char bytes[];
};

struct out {
	struct region *region; /* NULL: bytes are only counted */
	struct out_chunk *first, *last;
	uint64_t len; /* bytes written */
	bool failed;  /* no memory: the content is not complete */

	/* For output that is too large for memory: makes the next part, and sets itself to NULL with the last. */
	void (*more)(struct out *o);
	void *source;        /* the state of `more` */
	uint64_t more_bytes; /* total size of the parts to come */
};

/* Begin an empty out with chunks in *region. */
void out_init(struct out *o, struct region *region);

/* Drop the content, and make the next part in *region, which holds nothing else. */
void out_make_part(struct out *o, struct region *region);

void out_bytes(struct out *o, const void *p, size_t n);
void out_str(struct out *o, const char *s);
void out_span(struct out *o, struct span s);
void out_dec(struct out *o, int64_t value);
void out_hex(struct out *o, uint64_t value); /* lower case, no prefix */

#endif
