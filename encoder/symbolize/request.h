/* request.h - what the listener asks the helper (protocol.h), as lines.
 *
 * Runs in: pprofshim-symbolize. Lines may hold anything; nothing past their end is read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLIZE_REQUEST_H
#define PPROFSHIM_SYMBOLIZE_REQUEST_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of the request; each line is a string, as '\n' became NUL. If a line has a NUL of its own, its rest counts
 * as one more line, which is harmless. */
struct request {
	char *bytes;
	size_t len;
};

/* Read it whole into q->bytes (malloc). Returns 0 or a negative errno. */
int request_read(int fd, struct request *q);

/* Returns the line at `at`, and in *next where the next one begins (q->len: there is none). */
const char *request_line(const struct request *q, size_t at, size_t *next);

/* Returns the text after letter and space, "" for the letter alone; NULL: the line has another letter. */
const char *request_after(const char *line, char letter);

/* Returns the addresses of the lines [begin, end), ascending, each once (malloc). NULL: there are none (*count is 0),
 * or no memory. */
uint64_t *request_addresses(const struct request *q, size_t begin, size_t end, size_t *count);

#endif
