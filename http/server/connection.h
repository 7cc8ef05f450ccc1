/* connection.h - one client: reads requests, has them answered, sends the answers.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here blocks or waits. Every state has a deadline, and
 * the loop (server.c) reports when it has passed.
 *
 *                           ┌───────────────────────────────◄──────────────┐ (bytes of the next request are here)
 *   open ─► (HANDSHAKE ─►) HEAD ─► BODY ─► (handler) ─► WAIT ─► WRITE ─► IDLE ─► HEAD …
 *                            └─ bad ─────────────────────────►─┘  └─ last answer ─► LINGER ─► OVER
 *
 * A handler may leave the answer to another process: RELAY in place of WRITE (relay.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CONNECTION_H
#define PPROFSHIM_CONNECTION_H

#include "http/server/exchange.h"
#include "http/server/secure.h"
#include "shim/base/pace.h"
#include "http/address/fd.h"

enum connection_state {
	CONNECTION_FREE,      /* the slot is not in use */
	CONNECTION_HANDSHAKE, /* the layer below is not ready for requests */
	CONNECTION_HEAD,      /* waits for a request head, or for the rest of it */
	CONNECTION_BODY,      /* the body is coming in */
	CONNECTION_WAIT,      /* a handler is at work, or waits for its time */
	CONNECTION_WRITE,     /* the answer is being sent */
	CONNECTION_RELAY,     /* another process makes the answer */
	CONNECTION_IDLE,      /* between two requests; holds no memory */
	CONNECTION_LINGER,    /* all is sent; the client has to read it and close */
	CONNECTION_OVER,      /* to be closed by the loop */
};

struct connection {
	enum connection_state state; /* written last when a slot is taken: a fork may copy any moment */
	int fd;
	struct fd_identity identity;
	uint32_t generation; /* tells a slot's clients apart; used by the loop */
	uint32_t watched;    /* epoll events that are asked for; used by the loop */
	bool loopback;
	bool is_passed;                   /* by the owner of the door */
	const struct secure_layer *layer; /* of secure */
	struct secure *secure;            /* between us and the socket; NULL: bytes go as they are */
	struct peer peer;
	uint64_t since_ns;    /* CLOCK_MONOTONIC: without a complete request from then on */
	uint64_t begin_ns;    /* of the present request's first byte */
	uint64_t bytes;       /* sent of the present answer */
	unsigned ready_made;  /* status of an answer that needs no exchange; 0: it has one */
	bool pending;         /* HEAD: input has bytes that the parser has not seen */
	bool last;            /* WRITE: nothing follows this answer */
	bool reset;           /* OVER: drop what is unsent */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	int unsent;           /* WRITE: bytes in the kernel's queue when the deadline was set */
	uint64_t moved_ns;    /* WRITE: CLOCK_MONOTONIC then */
	uint64_t drained;     /* LINGER: bytes dropped */

	/* HEAD to WRITE. x is NULL before the first byte, and when there was no memory. */
	struct region region;
	struct exchange *x;
	struct pace_task task;               /* WAIT: a handler at work; without a stack: none */
	void (*handler)(struct exchange *x); /* of the task */
	struct region_mark request;          /* in region: memory after it belongs to the answer */
	struct region answer; /* WRITE: only the bytes to send, if they were moved here or made in parts; else empty */
	const struct out_chunk *chunk; /* the next byte to send */
	size_t chunk_sent;
};

/* Begin with a new client. fd is non-blocking and becomes the connection's; the loop closes it. layer is NULL, or what
 * stands between it and the socket. */
void connection_open(struct connection *c, int fd, bool loopback, const struct secure_layer *layer);

/* The same for a client that the owner of the door passes on. */
void connection_open_passed(struct connection *c, int fd);

/* The same for a client too many: it gets a 503 and is closed. */
void connection_refuse(struct connection *c, int fd);

/* The loop frees the slot: free what stands between the connection and the socket. */
void connection_free_secure(struct connection *c);

/* Handle `events`, as epoll reported them. */
void connection_ready(struct connection *c, uint32_t events);

/* Handle a deadline that has passed. */
void connection_expire(struct connection *c);

/* The loop is about to free the slot: say so of an answer that is not sent whole. */
void connection_tell_cut(const struct connection *c);

/* May the connection give way to a new client: has it no complete request, or does it not read its answer? A
 * connection is never given up while a handler works on its request.
 * Returns CLOCK_MONOTONIC ns since when; 0: it may not. */
uint64_t connection_idle_since(const struct connection *c);

/* Returns the epoll events that the state waits for. */
uint32_t connection_interest(const struct connection *c);

#endif
