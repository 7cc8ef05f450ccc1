/* path.c - the path of a request: cleaned and decoded, as Go's ServeMux does it.
 *
 * Runs in: listener. No allocation, no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/path.h"

#include <stdint.h>

/* The byte that the sequence at the beginning of s stands for. False: s begins with no whole sequence. */
static bool read_sequence(struct span s, char *byte)
{
	uint64_t value;
	if (s.len < 3 || s.at[0] != '%' || !text_parse_uint((struct span){s.at + 1, 2}, 16, &value))
		return false;
	*byte = (char)value;
	return true;
}

bool path_is_well_formed(struct span path)
{
	char byte;
	for (size_t i = 0; i < path.len; i++)
		if (path.at[i] == '%' && !read_sequence((struct span){path.at + i, path.len - i}, &byte))
			return false;
	return true;
}

/* Cut the last "/segment" off. */
static size_t without_last(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

struct span path_clean(struct span path, char *to)
{
	struct span rest = path;
	size_t n = 0;
	while (rest.len) {
		struct span segment = span_cut(&rest, '/');
		if (span_is(segment, "..")) {
			n = without_last(to, n);
		} else if (segment.len && !span_is(segment, ".")) {
			to[n++] = '/';
			memcpy(to + n, segment.at, segment.len);
			n += segment.len;
		}
	}
	if (!n || (path.len && path.at[path.len - 1] == '/'))
		to[n++] = '/';
	return (struct span){to, n};
}

struct span path_decode(struct span path, char *to)
{
	size_t n = 0;
	for (size_t i = 0; i < path.len; n++) {
		bool is_sequence = read_sequence((struct span){path.at + i, path.len - i}, &to[n]);
		if (!is_sequence)
			to[n] = path.at[i];
		i += is_sequence ? 3 : 1;
	}
	return (struct span){to, n};
}
