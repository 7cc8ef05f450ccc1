/* response.h - an answer: status, headers, body; errors through one function.
 *
 * Runs in: listener. Memory of the exchange's region. If memory was short anywhere, response_finish returns NULL at the
 * end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RESPONSE_H
#define PPROFSHIM_RESPONSE_H

#include <stdbool.h>

#include "encoder/bytes/out.h"
#include "shim/base/arena.h"
#include "shim/base/text.h"

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_HTML "text/html; charset=utf-8"
#define TYPE_BINARY "application/octet-stream"

struct response {
	unsigned status; /* 0: not begun */
	struct region *region;
	struct out head, body;
};

void response_init(struct response *r, struct region *region);

/* Begin the answer, or begin it anew and drop the old content. The caller writes the body into r->body. Every answer
 * has a type, X-Content-Type-Options: nosniff and Cache-Control: no-store. */
void response_begin(struct response *r, unsigned status, const char *type);

/* Add a header. The value must hold no line end, so it is our own or from a parsed request. */
void response_header(struct response *r, const char *name, struct span value);

/* Answer with an error; all errors go this way. It is text/plain, with X-Go-Pprof: 1 (without it, `go tool pprof` hides
 * the text); the body is the text and a line end. */
void response_error(struct response *r, unsigned status, const char *text);

/* The end of the head depends on these. */
struct response_end {
	bool close;     /* the connection ends after this */
	bool http10;    /* keep-alive needs a header */
	bool head_only; /* HEAD: the body is counted but not sent */
};

/* Complete the head. The parts that r->body.more makes follow the chain.
 * Returns the chain of chunks to send; NULL: no memory. */
const struct out_chunk *response_finish(struct response *r, struct response_end end);

/* Whole answers that need no memory. Both close the connection. */
const struct out_chunk *response_out_of_memory(void); /* 503 */
const struct out_chunk *response_too_many(void);      /* 503 */
const struct out_chunk *response_wants_tls(void);     /* 400 */

#define TEXT_OUT_OF_MEMORY \
	"pprofshim: no memory left for this answer; ask again when others are done, or raise PPROF_MEMORY_LIMIT"

#endif
