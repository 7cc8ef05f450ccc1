/* exchange.h - one request and its answer, while the server has them.
 *
 * Runs in: listener. Lives in the region that it points to and goes with it: a connection without a
 * request holds no memory.
 *
 *   connection: reads the head into input ─► request_parse ─► reads the body
 *                 └► endpoint_answer ─► fills answer ──────────────────────► sent from its chunks
 *                           └► or sets resume and resume_ns: called again then (a delta, a CPU profile, a trace)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EXCHANGE_H
#define PPROFSHIM_EXCHANGE_H

#include "http/server/limits.h"
#include "http/server/query.h"
#include "http/server/request.h"
#include "http/server/response.h"

struct endpoint;
struct names_wait;

struct exchange {
	struct region *region;
	bool loopback; /* on a loopback TCP address: names in Host are checked */

	struct request request;
	char *body;      /* of content_length bytes; NULL: none, or read and dropped */
	size_t body_len; /* come in so far */

	struct response answer;
	const struct endpoint *endpoint;

	/* A handler that has to wait sets both; the connection calls resume at resume_ns
	 * (CLOCK_MONOTONIC), once, unless the client went away. It may set them again. */
	void (*resume)(struct exchange *x);
	uint64_t resume_ns;
	/* Set by a handler that holds more than memory while it waits, NULL again when it does not: called
	 * once if the exchange ends while it waits, for whatever reason, before its region goes. (Not in a fork child,
	 * which holds nothing.) */
	void (*abandon)(struct exchange *x);
	struct query query;
	void *own;                     /* what the endpoint keeps of this exchange: a struct of its file */
	struct names_wait *names_wait; /* of an answer that needs names: answer.c */

	size_t consumed;  /* of input: this request */
	size_t input_len; /* the rest is the beginning of the next one (pipelining) */
	char input[LIMIT_INPUT];
};

/* Answer x->request, or set x->resume. routes.c */
void endpoint_answer(struct exchange *x);

#endif
