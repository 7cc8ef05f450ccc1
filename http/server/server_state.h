/* server_state.h - what the parts of the event loop share: the loop itself (server.c), its epoll set (polled.c) and its
 * clients (slots.c). Nobody else includes this.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVER_STATE_H
#define PPROFSHIM_SERVER_STATE_H

#include "http/server/connection.h"

enum {
	SLOTS = LIMIT_CONNECTIONS + LIMIT_REFUSALS,

	/* epoll's data: the slot's number, the generation above it. Or one of these. */
	TAG_LISTEN = SLOTS,
	TAG_WAKE,
	TAG_END,
	TAG_SIDE,
	TAG_RELAY = 1024, /* and the slot's number: the source of its answer */
};

/* Owned by the listener. In a fork child it first holds the state of the parent's listener. */
struct server {
	bool running;
	bool stopping;
	uint32_t generation;               /* of the process that it ran in last (house.h) */
	bool loopback;                     /* address is loopback TCP */
	bool peers_checked;                /* address is an abstract socket: no file's permissions protect it */
	const struct secure_layer *secure; /* NULL: none */
	int epoll_fd;
	int listen_fd; /* -1: serving nothing */
	int wake_fd;   /* -1: none */
	int end_fd;    /* -1: none */
	int side_fd;   /* -1: none */
	struct fd_identity listen_identity;
	uint64_t rest_again_ns;   /* rest() is due then; 0: never */
	uint64_t accept_again_ns; /* not polling listen_fd until then; 0: polling */
	void (*wake)(void);
	void (*side)(void);
	struct connection slots[SLOTS];
};

extern struct server server;

#endif
