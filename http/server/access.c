/* access.c - one line for each request, if PPROF_LOG has the word access.
 *
 * Runs in: listener. Its own stack, system calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/access.h"

#include "shim/base/date.h"
#include "shim/base/house.h"
#include "shim/base/log.h"
#include "shim/base/os.h"

enum { TARGET_MOST = 192 }; /* bytes of a path, and of a query; log.h's lines are short */

static void print_padded(struct line *l, unsigned value, unsigned digits)
{
	for (unsigned unit = digits == 4 ? 1000 : digits == 3 ? 100 : 10; unit > 1 && value < unit; unit /= 10)
		line_str(l, "0");
	line_dec(l, value);
}

static void print_time(struct line *l, uint64_t ns)
{
	uint64_t ms = ns / 1000000, s = ms / 1000;
	struct date d = date_of(s / 86400);
	print_padded(l, d.year, 4);
	line_str(l, "-");
	print_padded(l, d.month, 2);
	line_str(l, "-");
	print_padded(l, d.day, 2);
	line_str(l, "T");
	print_padded(l, (unsigned)(s / 3600 % 24), 2);
	line_str(l, ":");
	print_padded(l, (unsigned)(s / 60 % 60), 2);
	line_str(l, ":");
	print_padded(l, (unsigned)(s % 60), 2);
	line_str(l, ".");
	print_padded(l, (unsigned)(ms % 1000), 3);
	line_str(l, "Z ");
}

/* Write a word of the client's, at most so many bytes of it. Characters that could end a field or a line become
 * %XX, as in a URL. */
static void print_word(struct line *l, struct span s, size_t most)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t end = l->len + most;
	if (!s.len)
		line_str(l, "-");
	for (; s.len && l->len < end; s.at++, s.len--) {
		unsigned char c = (unsigned char)*s.at;
		char coded[] = {'%', digits[c >> 4], digits[c & 15]};
		if (c > ' ' && c <= '~')
			line_bytes(l, s.at, 1);
		else
			line_bytes(l, coded, sizeof coded);
	}
	if (s.len)
		line_str(l, "...");
}

static void print_target(struct line *l, const struct access *a)
{
	print_word(l, a->path, TARGET_MOST);
	if (a->query.len) {
		line_str(l, "?");
		print_word(l, a->query, TARGET_MOST);
	}
}

void access_tell(const struct access *a)
{
	char text[640];
	struct line l = LINE(text);
	if (!log_wants_access())
		return;
	line_str(&l, "access ");
	print_time(&l, os_clock_ns(CLOCK_REALTIME));
	peer_print(a->peer, &l);
	line_str(&l, " ");
	line_dec(&l, house_pid());
	line_str(&l, " ");
	print_word(&l, a->method, 16);
	line_str(&l, " ");
	print_target(&l, a);
	line_str(&l, " ");
	line_dec(&l, a->status);
	line_str(&l, " ");
	line_dec(&l, (int64_t)a->bytes);
	line_str(&l, a->is_whole ? " " : "+ ");
	line_dec(&l, (int64_t)(a->ns / 1000000));
	line_str(&l, "ms ");
	print_word(&l, a->user, 64);
	log_access(l.at);
}
