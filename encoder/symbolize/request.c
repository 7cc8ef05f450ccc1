/* request.c - what the listener asks the helper (protocol.h), as lines.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/request.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/symbolize/protocol.h"
#include "encoder/symbolize/reply.h"

enum { REQUEST_MAX = 512 * 1024 * 1024 }; /* bytes; what comes after them is not read */

int request_read(int fd, struct request *q)
{
	size_t cap = 0;
	for (;;) {
		if (cap - q->len < 2) {
			size_t more = cap ? 2 * cap : SYMBOLIZE_LINE_MAX;
			char *bytes = realloc(q->bytes, more);
			if (!bytes)
				return -ENOMEM;
			q->bytes = bytes, cap = more;
		}
		ssize_t n = read(fd, q->bytes + q->len, cap - q->len - 1);
		if (n > 0)
			q->len += (size_t)n;
		else if (n < 0 && pipe_again(fd, POLLIN))
			continue;
		else if (n < 0)
			return -errno;
		if (n == 0 || q->len >= REQUEST_MAX)
			break;
	}
	q->bytes[q->len++] = '\n'; /* in case the last line has no end */
	for (char *p = q->bytes; (p = memchr(p, '\n', q->len - (size_t)(p - q->bytes)));)
		*p++ = '\0';
	return 0;
}

const char *request_line(const struct request *q, size_t at, size_t *next)
{
	const char *line = q->bytes + at;
	*next = at + strlen(line) + 1;
	return line;
}

const char *request_after(const char *line, char letter)
{
	if (line[0] != letter || (line[1] && line[1] != ' '))
		return NULL;
	return line[1] ? line + 2 : line + 1;
}

static bool parse_address(const char *s, uint64_t *address)
{
	uint64_t value = 0;
	size_t n = 0;
	for (; s[n]; n++) {
		int digit = s[n] >= '0' && s[n] <= '9'   ? s[n] - '0'
		            : s[n] >= 'a' && s[n] <= 'f' ? s[n] - 'a' + 10
		            : s[n] >= 'A' && s[n] <= 'F' ? s[n] - 'A' + 10
		                                         : -1;
		if (digit < 0 || value >> 60)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	*address = value;
	return n > 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

uint64_t *request_addresses(const struct request *q, size_t begin, size_t end, size_t *count)
{
	uint64_t address, *all;
	size_t n = 0, kept = 0;
	for (size_t at = begin, next; at < end; at = next)
		n += request_after(request_line(q, at, &next), 'a') != NULL;
	*count = n;
	if (n == 0 || !(all = malloc(n * sizeof *all)))
		return NULL;
	n = 0;
	for (size_t at = begin, next; at < end; at = next) {
		const char *text = request_after(request_line(q, at, &next), 'a');
		if (text && parse_address(text, &address))
			all[n++] = address;
	}
	qsort(all, n, sizeof *all, by_value);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || all[i] != all[i - 1])
			all[kept++] = all[i];
	*count = kept;
	return all;
}
