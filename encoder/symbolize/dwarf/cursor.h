/* cursor.h - read numbers and texts of DWARF off bytes that may be hostile.
 *
 * Runs in: pprofshim-symbolize. A cursor never passes its end: reads there return 0 and mark it as bad. All is inline,
 * as line number programs are read byte by byte.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CURSOR_H
#define PPROFSHIM_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *at;
	size_t len;
};

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

/* Returns the number of bytes that are left. */
static inline size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->at);
}

static inline void cursor_skip(struct cursor *c, uint64_t n)
{
	if (n > cursor_left(c)) {
		c->bad = true;
		n = cursor_left(c);
	}
	c->at += n;
}

/* Reads a number of so many bytes, at most 8. */
static inline uint64_t cursor_fixed(struct cursor *c, unsigned size)
{
	uint64_t v = 0;
	if (size > cursor_left(c) || size > 8) {
		c->bad = true;
		c->at = c->end;
		return 0;
	}
	memcpy(&v, c->at, size); /* little-endian, as all files that are accepted */
	c->at += size;
	return v;
}

/* Reads a number of variable length (DWARF 5, 7.6); of more than 64 bits, the lower ones. */
static inline uint64_t cursor_uleb(struct cursor *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; c->at < c->end; shift += 7) {
		uint8_t b = *c->at++;
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	c->bad = true;
	return v;
}

static inline int64_t cursor_sleb(struct cursor *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; c->at < c->end;) {
		uint8_t b = *c->at++;
		if (shift < 64)
			v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
		if (b & 0x80)
			continue;
		if ((b & 0x40) && shift < 64)
			v |= ~UINT64_C(0) << shift;
		return (int64_t)v;
	}
	c->bad = true;
	return (int64_t)v;
}

/* Reads a text. Returns it without its NUL. */
static inline struct bytes cursor_string(struct cursor *c)
{
	const uint8_t *nul = memchr(c->at, 0, cursor_left(c));
	struct bytes s = {c->at, nul ? (size_t)(nul - c->at) : cursor_left(c)};
	c->bad |= !nul;
	c->at += s.len + (nul != NULL);
	return s;
}

static inline struct bytes cursor_string_at(struct bytes section, uint64_t offset)
{
	if (offset >= section.len)
		return (struct bytes){NULL, 0};
	struct cursor c = {section.at + offset, section.at + section.len, false};
	return cursor_string(&c);
}

#endif
