/* utf8.c - make any bytes well-formed UTF-8. A symbol, a thread's name or a path may hold any bytes.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/utf8.h"

/* RFC 3629, section 4. */
static bool is_utf8(struct span s)
{
	for (size_t i = 0; i < s.len;) {
		unsigned char c = (unsigned char)s.at[i];
		size_t more = c < 0x80                ? 0
		              : c >= 0xc2 && c < 0xe0 ? 1
		              : c >= 0xe0 && c < 0xf0 ? 2
		              : c >= 0xf0 && c < 0xf5 ? 3
		                                      : 9;
		if (more >= s.len - i)
			return false;
		for (size_t k = 1; k <= more; k++)
			if (((unsigned char)s.at[i + k] & 0xc0) != 0x80)
				return false;
		unsigned char next = more ? (unsigned char)s.at[i + 1] : 0;
		if ((c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) || (c == 0xf0 && next < 0x90) ||
		    (c == 0xf4 && next > 0x8f))
			return false;
		i += more + 1;
	}
	return true;
}

char *utf8_copy(struct region *r, struct span s)
{
	char *copy = region_alloc(r, s.len + 1);
	if (!copy)
		return NULL;
	if (s.len)
		memcpy(copy, s.at, s.len);
	bool clean = is_utf8(s);
	for (size_t i = 0; i < s.len; i++)
		if (!copy[i] || (!clean && (unsigned char)copy[i] >= 0x80))
			copy[i] = '?';
	return copy;
}

char *utf8_line(struct region *r, struct span s)
{
	char *copy = utf8_copy(r, s);
	for (size_t i = 0; copy && i < s.len; i++) {
		unsigned char c = (unsigned char)copy[i];
		if (c < 0x20 || c == 0x7f)
			copy[i] = '?';
		else if (c == 0xc2 && (unsigned char)copy[i + 1] < 0xa0) /* U+0080 to U+009F */
			copy[i] = copy[i + 1] = '?';
	}
	return copy;
}
