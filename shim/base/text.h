/* text.h - numbers and text without libc: parsing, formatting, comparing.
 *
 * Runs in: everywhere. No locale, no errno, no allocation: what the listener may use in place of
 * strtol, snprintf and ctype, which need libc's thread-local state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEXT_H
#define PPROFSHIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A piece of somebody else's memory. Not NUL-terminated. */
struct span {
	const char *at;
	size_t len;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static inline struct span span_of(const char *s)
{
	return (struct span){s, strlen(s)};
}

static inline bool span_is(struct span s, const char *literal)
{
	size_t n = strlen(literal);
	return s.len == n && memcmp(s.at, literal, n) == 0;
}

bool span_is_nocase(struct span s, const char *lower_case_literal);
bool span_starts(struct span s, const char *prefix);

/* Returns where `what` stands first in s; NULL if it does not. */
const char *span_find(struct span s, struct span what);

/* Cut the part before the first `separator` off *rest, or all of it if there is none. Returns that part. */
struct span span_cut(struct span *rest, char separator);

/* Returns s without spaces and tabs at both ends. */
struct span span_trim(struct span s);

/* Parse the whole of s as an unsigned number: in base 10, in base 16 (hex digits of either case, no prefix), or in base
 * 0 as Go's ParseUint does, with the prefixes 0x, 0o, 0b and 0.
 * Returns false if s is empty, has a bad digit, or overflows. */
bool text_parse_uint(struct span s, unsigned base, uint64_t *value);

/* Parse the whole of s as Go's strconv.Atoi does: an optional sign and decimal digits. */
bool text_parse_int(struct span s, int64_t *value);

/* FNV-1a, 64 bits. */
uint64_t text_hash(const void *bytes, size_t n);

/* A line under construction in the caller's buffer. A text that does not fit is cut off; it always ends
 * in NUL. */
struct line {
	char *at;
	size_t cap;
	size_t len;
};

#define LINE(array) ((struct line){(array), sizeof(array), 0})

void line_bytes(struct line *l, const char *s, size_t n);
void line_str(struct line *l, const char *s);
void line_dec(struct line *l, int64_t value);
void line_hex(struct line *l, uint64_t value); /* lower case, no prefix */

/* Write the digits of value, in base 10 or 16, to buf (20 bytes are always enough).
 * Returns their number. */
size_t text_format_uint(char buf[20], uint64_t value, unsigned base);

#endif
