/* request.h - the head of an HTTP/1 request, read as it comes in.
 *
 * Runs in: listener. No allocation: everything is a span into the caller's buffer. No libc but mem*.
 *
 * The parser is strict where two lenient readers of the same bytes could disagree (RFC 9112: folded lines, bare CR, a
 * space before the colon, lengths that differ). It is lenient where Go is (bare LF, blank lines before a request). The
 * result depends on the bytes alone, never on how they were split into reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_REQUEST_H
#define PPROFSHIM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/text.h"

enum request_method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
};

/* Zero-initialised before the first byte. */
struct request {
	enum request_method method;
	struct span method_name; /* as sent; empty: the request line was not understood */
	struct span path;        /* as sent, not decoded; without the authority of an absolute target */
	struct span query;       /* as sent, without the '?' */
	struct span host;        /* from an absolute target, else from the Host header; empty: none */
	uint64_t content_length;
	struct span authorization; /* the header's value; empty: none */
	struct span fetch_site;    /* of Sec-Fetch-Site; empty: none */
	bool http10;
	bool keep_alive;      /* the client wants another request on the connection */
	bool expect_continue; /* the client waits for 100 before it sends the body */
	bool form;            /* the body is application/x-www-form-urlencoded */

	/* The answer if request_parse returned REQUEST_BAD. */
	unsigned status;
	const char *reason; /* one line */

	/* The parser's own. */
	size_t scanned_;    /* bytes looked at */
	size_t line_start_; /* of the line that scanned_ is in */
	size_t headers_start_;
	unsigned blank_lines_, hosts_, authorizations_;
	bool have_line_, have_length_, transfer_coded_, absolute_;
	bool close_asked_, keep_alive_asked_, expects_other_;
};

enum {
	REQUEST_BAD = -1,     /* status and reason say why; the connection cannot go on */
	REQUEST_PARTIAL = -2, /* the head is incomplete: call again with more bytes */
};

/* Parse buf[0..len). If an earlier call has seen the first part, buf must be at the same place.
 * Returns the length of the whole head (greater than 0), or one of the above. */
long request_parse(struct request *q, const char *buf, size_t len);

#endif
