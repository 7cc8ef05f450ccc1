/* out.c - a growing chain of chunks in the request's region.
 *
 * Runs in: listener. One owner, no lock, no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/out.h"

enum { CHUNK_BYTES = 15 * 1024 }; /* with its head, four fit into a chunk of the region */

void out_init(struct out *o, struct region *region)
{
	*o = (struct out){.region = region};
}

void out_make_part(struct out *o, struct region *region)
{
	*o = (struct out){.region = region, .more = o->more, .source = o->source};
	o->more(o);
}

static struct out_chunk *add_chunk(struct out *o)
{
	struct out_chunk *c = region_alloc(o->region, sizeof *c + CHUNK_BYTES);
	if (!c) {
		o->failed = true;
		return NULL;
	}
	c->cap = CHUNK_BYTES;
	if (o->last)
		o->last->next = c;
	else
		o->first = c;
	o->last = c;
	return c;
}

void out_bytes(struct out *o, const void *p, size_t n)
{
	const char *from = p;
	if (!o->region) {
		o->len += n;
		return;
	}
	while (n && !o->failed) {
		struct out_chunk *c = o->last;
		if (!c || c->used == c->cap)
			c = add_chunk(o);
		if (!c)
			return;
		size_t part = c->cap - c->used < n ? c->cap - c->used : n;
		memcpy(c->bytes + c->used, from, part);
		c->used += part;
		o->len += part;
		from += part;
		n -= part;
	}
}

void out_str(struct out *o, const char *s)
{
	out_bytes(o, s, strlen(s));
}

void out_span(struct out *o, struct span s)
{
	out_bytes(o, s.at, s.len);
}

void out_dec(struct out *o, int64_t value)
{
	char digits[32];
	struct line l = LINE(digits);
	line_dec(&l, value);
	out_bytes(o, l.at, l.len);
}

void out_hex(struct out *o, uint64_t value)
{
	char digits[20];
	out_bytes(o, digits, text_format_uint(digits, value, 16));
}
