/* server.h - the event loop, as init sets it going.
 *
 * Runs in: listener.
 * So: no libc but mem*, system calls through shim/base/os.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVER_H
#define PPROFSHIM_SERVER_H

#include "http/address/address.h"

struct server_options {
	int listen_fd;
	struct address address; /* where listen_fd listens */
	int wake_fd;            /* when it is readable, the loop calls wake(); -1: none */
	int end_fd;             /* likewise: what says that the program has ended */
	void (*wake)(void);     /* reads wake_fd itself; may call the two functions below */
	unsigned (*rest)(void); /* after each round; in so many milliseconds again, though nothing happens; 0: not so;
	                           NULL: none */
};

/* The listener's life: serve until server_stop, or until there is no descriptor to be had for an epoll set
 * (then everything is closed, listen_fd too). Uses no memory but regions and static storage. Forgets
 * (and gives back) whatever connections it inherited over a fork. Never sleeps but in epoll; an idle
 * listener never wakes. */
void server_run(const struct server_options *options);

/* Called by wake() only. Close the listening socket and every connection at once (linger 0, so that the
 * port is free for the program), then listen on fd instead (fd < 0: serve nothing until the next call). */
void server_move(int fd, const struct address *address);

/* In a signal handler that interrupted the loop: nothing of ours is at the port any more. server_move is to follow, by
 * wake(). */
void server_leave_port(void);

/* Called by wake() only: close everything and let server_run return. */
void server_stop(void);

#endif
