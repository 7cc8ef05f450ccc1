/* reply.h - the helper's answer to the listener: lines (protocol.h), sent soon and whole.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_REPLY_H
#define PPROFSHIM_REPLY_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/symbolize/protocol.h"

enum {
	FILE_MAX = 8 * 1024 - 64, /* bytes of a path in an `f` line; the rest is cut off */
	NAME_MAX_BYTES = 28 * 1024,
};

static_assert(FILE_MAX + 2 * NAME_MAX_BYTES + 64 <= SYMBOLIZE_LINE_MAX,
              "an f line always fits: three texts, two numbers");

struct reply {
	int fd;
	int error; /* a negative errno: the reader has gone */
	uint64_t sent_ns;
	size_t len;
	char bytes[4 * SYMBOLIZE_LINE_MAX];
};

/* Begin to write to that descriptor. */
void reply_start(struct reply *r, int fd);

/* Send what is written. If the reader has gone, r->error says so from then on. */
void reply_flush(struct reply *r);

/* Make room for the longest line. Call it before a line, never within one. */
void reply_line(struct reply *r);

/* Call it before a line that begins something new; it may send. (The reader would take half of an address's frames for
 * all of them.) */
void reply_begin(struct reply *r);

/* Write at most `max` bytes of a text, as one line of whole characters. */
void reply_text(struct reply *r, const char *s, size_t max);

/* For numbers and letters only, so that the text is short. */
void __attribute__((format(printf, 2, 3))) reply_format(struct reply *r, const char *format, ...);

/* Write a line for people; about: a file, or NULL. */
void reply_note(struct reply *r, const char *about, const char *text);

/* Wait after a call on fd that failed, if it may be tried again: for a non-blocking pipe, until it is ready.
 * Returns whether it may. */
bool pipe_again(int fd, short events);

#endif
