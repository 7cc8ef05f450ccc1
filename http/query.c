/* query.c - parameters of a request: of its urlencoded body and of its URL.
 *
 * Runs in: listener. Decoded values live in the request's region. No libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/query.h"

enum { MALFORMED = -1 };

/* Take one decoded byte off *s, which is not empty. The byte (0 to 255), or MALFORMED. */
static int next_byte(struct span *s)
{
	uint64_t value;
	char c = *s->at;
	s->at++, s->len--;
	if (c == '+')
		return ' ';
	if (c != '%')
		return (unsigned char)c;
	if (s->len < 2 || !text_parse_uint((struct span){s->at, 2}, 16, &value))
		return MALFORMED;
	s->at += 2;
	s->len -= 2;
	return (int)value;
}

static bool is_well_formed(struct span s)
{
	while (s.len)
		if (next_byte(&s) == MALFORMED)
			return false;
	return true;
}

/* Both of these: s is well-formed. */
static bool decodes_to(struct span s, const char *literal)
{
	for (; s.len && *literal; literal++)
		if (next_byte(&s) != (unsigned char)*literal)
			return false;
	return s.len == 0 && !*literal;
}

static void decode(struct query *q, struct span s, struct span *value)
{
	size_t n = 0;
	char *to = s.len ? region_alloc(q->region, s.len) : NULL;
	if (s.len && !to) {
		q->failed = true;
		return;
	}
	while (s.len)
		to[n++] = (char)next_byte(&s);
	*value = (struct span){n ? to : "", n};
}

static bool find_in(struct query *q, struct span pairs, const char *name, struct span *value)
{
	while (pairs.len) {
		struct span pair = span_cut(&pairs, '&');
		if (!pair.len || memchr(pair.at, ';', pair.len))
			continue;
		struct span key = span_cut(&pair, '=');
		if (!is_well_formed(key) || !is_well_formed(pair) || !decodes_to(key, name))
			continue;
		decode(q, pair, value);
		return true;
	}
	return false;
}

bool query_find(struct query *q, const char *name, struct span *value)
{
	*value = SPAN("");
	return find_in(q, q->body, name, value) || find_in(q, q->url, name, value);
}
