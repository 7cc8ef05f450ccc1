/* query.c - parameters of a request, from its urlencoded body and its URL.
 *
 * Runs in: listener. Decoded values live in the request's region. No libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/query.h"

enum { MALFORMED = -1 };

/* Take one decoded byte off *s, which is not empty. Returns the byte (0 to 255), or MALFORMED. */
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

/* For this function and the next, s must be well-formed. */
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

static bool take(struct span *s, char lower_case)
{
	bool is_there = s->len && (s->at[0] | 0x20) == (lower_case | 0x20);
	s->at += is_there;
	s->len -= is_there;
	return is_there;
}

/* Take one digit off *s. Returns -1 if *s does not begin with one. */
static int take_digit(struct span *s)
{
	if (!s->len || s->at[0] < '0' || s->at[0] > '9')
		return -1;
	s->len--;
	return *s->at++ - '0';
}

/* Take digits while the value fits; count in *cut those that do not fit. Returns the number of digits. */
static size_t take_digits(struct span *s, uint64_t *value, size_t *cut)
{
	size_t count = 0;
	for (int d; (d = take_digit(s)) >= 0; count++) {
		if (*value > (UINT64_MAX - 9) / 10)
			++*cut;
		else
			*value = *value * 10 + (unsigned)d;
	}
	return count;
}

/* Take an exponent such as "e-3"; without one it is 0, and it stays near MOST at most. False: an e without digits. */
static bool take_exponent(struct span *s, int64_t *exponent)
{
	enum { MOST = INT32_MAX / 20 };
	*exponent = 0;
	if (!take(s, 'e'))
		return true;
	bool negative = s->len && s->at[0] == '-';
	if (s->len && (s->at[0] == '-' || s->at[0] == '+'))
		s->at++, s->len--;
	size_t count = 0;
	for (int d; (d = take_digit(s)) >= 0; count++)
		*exponent = *exponent < MOST ? *exponent * 10 + d : *exponent;
	*exponent = negative ? -*exponent : *exponent;
	return count > 0;
}

/* value * 10^exponent, as query_parse_seconds wants it. */
static uint64_t scale(uint64_t value, int64_t exponent)
{
	if (!value)
		return 0;
	for (; exponent > 0; exponent--)
		if (__builtin_mul_overflow(value, 10u, &value))
			return UINT64_MAX;
	for (; value && exponent < 0; exponent++)
		value /= 10;
	return value ? value : 1;
}

bool query_parse_seconds(struct span s, uint64_t *ns)
{
	uint64_t value = 0;
	size_t cut = 0, cut_before;
	int64_t exponent;
	bool negative = s.len && s.at[0] == '-';
	if (s.len && (s.at[0] == '-' || s.at[0] == '+'))
		s.at++, s.len--;
	if (span_is_nocase(s, "inf") || span_is_nocase(s, "infinity")) {
		*ns = negative ? 0 : UINT64_MAX;
		return true;
	}
	size_t whole = take_digits(&s, &value, &cut), fraction = 0;
	cut_before = cut;
	if (take(&s, '.'))
		fraction = take_digits(&s, &value, &cut);
	if (whole + fraction == 0 || !take_exponent(&s, &exponent) || s.len)
		return false;
	int64_t shift = (int64_t)cut_before - (int64_t)(fraction - (cut - cut_before));
	*ns = negative ? 0 : scale(value, exponent + shift + 9);
	return true;
}
