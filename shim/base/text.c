/* text.c - numbers and text without libc.
 *
 * Runs in: everywhere. No locale, no errno, no allocation, mem* alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/text.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool span_is_nocase(struct span s, const char *literal)
{
	if (s.len != strlen(literal))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (lower(s.at[i]) != literal[i])
			return false;
	return true;
}

bool span_starts(struct span s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.len >= n && memcmp(s.at, prefix, n) == 0;
}

const char *span_find(struct span s, struct span what)
{
	for (; s.len >= what.len; s.at++, s.len--)
		if (memcmp(s.at, what.at, what.len) == 0)
			return s.at;
	return NULL;
}

struct span span_cut(struct span *rest, char separator)
{
	const char *hit = rest->len ? memchr(rest->at, separator, rest->len) : NULL;
	struct span head = {rest->at, hit ? (size_t)(hit - rest->at) : rest->len};
	size_t skip = head.len + (hit ? 1 : 0);
	rest->at += skip;
	rest->len -= skip;
	return head;
}

struct span span_trim(struct span s)
{
	while (s.len && (s.at[0] == ' ' || s.at[0] == '\t'))
		s.at++, s.len--;
	while (s.len && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static unsigned digit_value(char c)
{
	c = lower(c);
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a' + 10);
	return 255;
}

/* For base 0: take the prefix off s. Returns the base that it stands for. */
static unsigned take_base_prefix(struct span *s)
{
	if (s->len < 2 || s->at[0] != '0')
		return 10;
	static const struct {
		char letter;
		unsigned base;
	} prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (lower(s->at[1]) == prefixes[i].letter) {
			s->at += 2;
			s->len -= 2;
			return prefixes[i].base;
		}
	s->at++;
	s->len--;
	return 8;
}

bool text_parse_uint(struct span s, unsigned base, uint64_t *value)
{
	if (base == 0)
		base = take_base_prefix(&s);
	if (s.len == 0)
		return false;
	uint64_t v = 0;
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = digit_value(s.at[i]);
		if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
			return false;
	}
	*value = v;
	return true;
}

bool text_parse_int(struct span s, int64_t *value)
{
	bool negative = s.len && s.at[0] == '-';
	if (s.len && (s.at[0] == '-' || s.at[0] == '+'))
		s.at++, s.len--;
	uint64_t v;
	if (!text_parse_uint(s, 10, &v) || v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
		return false;
	*value = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

void line_bytes(struct line *l, const char *s, size_t n)
{
	size_t room = l->cap - 1 - l->len;
	if (n > room)
		n = room;
	if (n)
		memcpy(l->at + l->len, s, n);
	l->len += n;
	l->at[l->len] = '\0';
}

void line_str(struct line *l, const char *s)
{
	line_bytes(l, s, strlen(s));
}

size_t text_format_uint(char buf[20], uint64_t value, unsigned base)
{
	char reversed[20];
	size_t n = 0;
	do {
		reversed[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (size_t i = 0; i < n; i++)
		buf[i] = reversed[n - 1 - i];
	return n;
}

void line_dec(struct line *l, int64_t value)
{
	char digits[20];
	uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	if (value < 0)
		line_bytes(l, "-", 1);
	line_bytes(l, digits, text_format_uint(digits, magnitude, 10));
}

void line_hex(struct line *l, uint64_t value)
{
	char digits[20];
	line_bytes(l, digits, text_format_uint(digits, value, 16));
}

uint64_t text_hash(const void *bytes, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
	return h;
}
