/* server.h - the event loop, as init sets it going.
 *
 * Runs in: listener.
 * So: no libc but mem*, system calls through shim/base/os.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVER_H
#define PPROFSHIM_SERVER_H

#include "http/address/address.h"
#include "http/server/secure.h"

struct server_options {
	int listen_fd;
	struct address address;            /* where listen_fd listens */
	int wake_fd;                       /* when it is readable, the loop calls wake(); -1: none */
	int end_fd;                        /* likewise: it becomes readable when the program has ended */
	int side_fd;                       /* likewise, it calls side(): the door's; -1: none */
	const struct secure_layer *secure; /* between each client and its socket; NULL: nothing is */
	void (*side)(void);
	void (*begin)(void);    /* called first, and before the events of each round; NULL: no such
	                           function */
	void (*wake)(void);     /* reads wake_fd itself; may call server_move and server_stop */
	unsigned (*rest)(void); /* called after each round; returns in how many milliseconds to call it again even if
	                           nothing happens; 0: not at all; NULL: no such function */
};

/* Run the listener: serve until server_stop, or until no descriptor is left for an epoll set (then everything is
 * closed, listen_fd too). It uses only regions and static storage, closes the connections that a fork child inherited,
 * and sleeps only in epoll. An idle listener never wakes. */
void server_run(const struct server_options *options);

/* Called by wake(), side() and rest() only. Close the listening socket and reset every connection at once, so that the
 * port is free for the program. Then listen on fd instead (fd < 0: serve nothing until the next call). */
void server_move(int fd, const struct address *address);

/* Take a client that the owner of the door passes on: its requests are not checked again. */
void server_adopt(int fd);

/* Called in a signal handler that interrupted the loop: leave the port at once. wake() must then call server_move. */
void server_leave_port(void);

/* Called by wake() only: close everything and let server_run return. */
void server_stop(void);

#endif
