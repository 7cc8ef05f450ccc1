/* reply.c - the helper's answer to the listener: lines (protocol.h), sent soon and whole.
 *
 * Runs in: pprofshim-symbolize. The listener has a deadline and can use a part of the answer. So answers are written
 * soon, and in whole lines.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/reply.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_NS = 100 * 1000 * 1000 };

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void reply_start(struct reply *r, int fd)
{
	r->fd = fd;
	r->sent_ns = now_ns();
}

bool pipe_again(int fd, short events)
{
	if (errno == EAGAIN)
		return poll(&(struct pollfd){.fd = fd, .events = events}, 1, -1) >= 0 || errno == EINTR;
	return errno == EINTR;
}

void reply_flush(struct reply *r)
{
	for (size_t done = 0; done < r->len && !r->error;) {
		ssize_t n = write(r->fd, r->bytes + done, r->len - done);
		if (n >= 0)
			done += (size_t)n;
		else if (!pipe_again(r->fd, POLLOUT))
			r->error = -errno;
	}
	r->len = 0;
	r->sent_ns = now_ns();
}

void reply_line(struct reply *r)
{
	if (sizeof r->bytes - r->len <= SYMBOLIZE_LINE_MAX)
		reply_flush(r);
}

void reply_begin(struct reply *r)
{
	reply_line(r);
	if (now_ns() - r->sent_ns >= FLUSH_NS)
		reply_flush(r);
}

/* Returns how many bytes of s to keep: at most `max`, and no half character of UTF-8. */
static size_t cut_at(const char *s, size_t max)
{
	size_t n = strnlen(s, max + 1);
	if (n <= max)
		return n;
	for (n = max; n && max - n < 4 && ((unsigned char)s[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

void reply_text(struct reply *r, const char *s, size_t max)
{
	size_t n = cut_at(s, max);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		r->bytes[r->len++] = c < 0x20 || c == 0x7f ? '?' : s[i];
	}
}

void reply_format(struct reply *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(r->bytes + r->len, sizeof r->bytes - r->len, format, args);
	va_end(args);
	if (n > 0)
		r->len += (size_t)n;
}

void reply_note(struct reply *r, const char *about, const char *text)
{
	reply_begin(r);
	reply_format(r, "n ");
	if (about) {
		reply_text(r, about, FILE_MAX);
		reply_format(r, ": ");
	}
	reply_text(r, text, FILE_MAX);
	reply_format(r, "\n");
}
