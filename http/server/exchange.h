/* exchange.h - one request and its answer, while the server works on them.
 *
 * Runs in: listener. Lives in the region that it points to, and is freed with it: a connection without a request holds
 * no memory.
 *
 *   connection: reads the head into input ─► request_parse ─► reads the body
 *                 └► endpoint_answer ─► fills answer ──────────────────────► sent from its chunks
 *                           └► or sets resume and resume_ns: called again then (a delta, a CPU profile, a trace)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EXCHANGE_H
#define PPROFSHIM_EXCHANGE_H

#include "http/address/peer.h"
#include "http/server/limits.h"
#include "http/server/query.h"
#include "http/server/request.h"
#include "http/server/response.h"

struct endpoint;
struct names_wait;
struct relay;

struct exchange {
	struct region *region;
	bool loopback;  /* on a loopback TCP address, where Host is checked */
	bool is_passed; /* by the owner of the door, who has checked it and writes the access log */

	struct peer peer;
	char user[48]; /* who has shown the token, by name, cut off if it is longer; else "" */

	struct request request;
	char *body;      /* of content_length bytes; NULL: none, or read and dropped */
	size_t body_len; /* received so far */

	struct response answer;
	const struct endpoint *endpoint;

	/* A handler that has to wait sets both. The connection then calls resume once at resume_ns (CLOCK_MONOTONIC),
	 * unless the client has gone. resume may set them again. */
	void (*resume)(struct exchange *x);
	uint64_t resume_ns;
	/* Set by a handler while it waits and holds more than memory; else NULL. It is called once if the exchange ends
	 * during the wait, before its region is released. (Not in a fork child, which holds nothing.) */
	void (*abandon)(struct exchange *x);
	struct query query;
	void *own;                     /* what the endpoint keeps of this exchange: a struct of its file */
	struct names_wait *names_wait; /* for an answer that needs names (answer.c) */
	struct relay *relay;           /* for one that another process makes (relay.h) */

	size_t consumed;  /* bytes of input that belong to this request */
	size_t input_len; /* bytes after those begin the next request (pipelining) */
	char input[LIMIT_INPUT];
};

/* Answer x->request, or set x->resume (routes.c). */
void endpoint_answer(struct exchange *x);

#endif
