/* server.h - what init and the listener's start need of the http room.
 *
 * Runs in: listener; address_* also in init (the app's thread, before main).
 * So: no libc but mem*, system calls through shim/os.h, text through shim/text.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVER_H
#define PPROFSHIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "shim/text.h"

/* Where to listen: PPROF_ADDR, parsed. */
struct address {
	enum { ADDRESS_OFF, ADDRESS_TCP, ADDRESS_UNIX } kind;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint16_t port; /* TCP: host byte order */
};

/* As Go's net.Listen("tcp", s) for literal addresses and "localhost": ":6060", "host:port", "[::1]:6060",
 * and "unix:/path" (at most 107 bytes; "unix:@name" is abstract), "off". A bare "6060" or a bare host is
 * refused, as Go does. 0, or -EINVAL with one line in *why. */
int address_parse(struct span text, struct address *a, const char **why);

/* Print the address as a URL: "http://127.0.0.1:6060/debug/pprof/" (a wildcard host prints as
 * localhost), "unix:/path". */
void address_print(const struct address *a, struct line *l);

/* Bind and listen (CLOEXEC, non-blocking, SO_REUSEADDR for TCP). A taken TCP port: the next free one of
 * the ten above it; a->port and a->sa then say which. A Unix socket file that nobody answers on is
 * replaced; one that is answered is taken (-EADDRINUSE). The fd, or a negative errno. */
int address_listen(struct address *a);

/* The same for this very address alone. */
int address_listen_here(struct address *a);

struct server_options {
	int listen_fd;
	struct address address; /* where listen_fd listens */
	int wake_fd;            /* when it is readable, the loop calls wake(); -1: none */
	void (*wake)(void);     /* reads wake_fd itself; may call the two functions below */
	unsigned (*rest)(void); /* after each round; in so many milliseconds again, though nothing happens; 0: not so; NULL: none */
};

/* The listener's life: serve until server_stop, or until there is no descriptor to be had for an epoll set
 * (then everything is closed, listen_fd too). Uses no memory but regions and static storage. Forgets
 * (and gives back) whatever connections it inherited over a fork. Never sleeps but in epoll; an idle
 * listener never wakes. */
void server_run(const struct server_options *options);

/* Called by wake() only. Close the listening socket and every connection at once (linger 0, so that the
 * port is free for the program), then listen on fd instead (fd < 0: serve nothing until the next call). */
void server_move(int fd, const struct address *address);

/* Called by wake() only: close everything and let server_run return. */
void server_stop(void);

#endif
