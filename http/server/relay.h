/* relay.h - an answer that another process makes: it comes through a socket pair and goes on to the client as it comes.
 *
 * Runs in: listener. Each call makes a few system calls that return at once. A buffer is held only from the first byte
 * of the answer to its last.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RELAY_H
#define PPROFSHIM_RELAY_H

#include "http/server/connection.h"

enum { RELAY_BUFFER = 64 * 1024 };

/* In the exchange's region. The source is the process that answers. */
struct relay {
	int fd; /* to the source; non-blocking */
	struct fd_identity identity;
	struct span head, body; /* the request to it */
	size_t asked;           /* bytes of the two that are sent */
	uint64_t patience_ms;   /* until the first byte of the answer; then 504 */
	bool is_taken;          /* the source has read the request */
	bool is_headed;         /* the answer's head is in the buffer, or gone */
	char *buffer;           /* in the connection's region of the answer; NULL: not had yet */
	size_t have, given;     /* bytes in it, and of these to the client */
	bool is_slow;           /* the client has a deadline */
	uint64_t left;          /* bytes that the client has still to get */
	uint32_t watched;       /* epoll events of fd that are asked for; used by the loop */
};

/* A handler calls this in place of an answer: the request goes to the source behind fd, which becomes the relay's.
 * Returns false if there is no memory: then fd is the caller's. */
bool relay_ask(struct exchange *x, int fd, struct span head, uint64_t patience_ms);

/* The handler has returned: begin. */
void relay_begin(struct connection *c);

/* Handle `events` of the client's socket, or of the source's. */
void relay_client_ready(struct connection *c, uint32_t events);
void relay_source_ready(struct connection *c, uint32_t events);

/* Handle a deadline that has passed. */
void relay_expire(struct connection *c);

/* Return the epoll events that are waited for: of the client's socket, and of the source's. */
uint32_t relay_client_interest(const struct connection *c);
uint32_t relay_source_interest(const struct connection *c);

/* Close the source, if there is one. */
void relay_close(struct connection *c);

#endif
