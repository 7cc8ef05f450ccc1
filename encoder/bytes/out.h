/* out.h - what a request's answer is written into: a growing chain of chunks in the request's region.
 *
 * Runs in: listener. One owner, no lock, no libc but mem*.
 * A write that finds no memory marks the whole as failed; the caller asks once, at the end.
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
	struct region *region; /* NULL: it only counts */
	struct out_chunk *first, *last;
	uint64_t len; /* bytes written */
	bool failed;  /* no memory: the content is not whole */

	/* Of what is too large to be in memory as a whole: makes the next part, and clears itself with the last. */
	void (*more)(struct out *o);
	void *source;        /* more's */
	uint64_t more_bytes; /* that all the parts to come will have */
};

/* Ready an empty out whose chunks live in *region. */
void out_init(struct out *o, struct region *region);

/* Drop what is written, and make the next part in *region, where nothing else is. */
void out_make_part(struct out *o, struct region *region);

void out_bytes(struct out *o, const void *p, size_t n);
void out_str(struct out *o, const char *s);
void out_span(struct out *o, struct span s);
void out_dec(struct out *o, int64_t value);
void out_hex(struct out *o, uint64_t value); /* lower case, no prefix */

#endif
