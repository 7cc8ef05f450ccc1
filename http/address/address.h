/* address.h - where to listen: PPROF_ADDR read, printed, bound.
 *
 * Runs in: init (the app's thread, before main), listener.
 * So: no libc but mem*, system calls through shim/base/os.h, text through shim/base/text.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ADDRESS_H
#define PPROFSHIM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "shim/base/text.h"

/* Where to listen: PPROF_ADDR, parsed. */
struct address {
	enum { ADDRESS_OFF, ADDRESS_TCP, ADDRESS_UNIX } kind;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	uint16_t port; /* TCP: host byte order */
	bool secure;   /* TCP: it is printed as https */

	/* Of a Unix socket's file. */
	bool has_mode, has_owner;
	uint32_t mode; /* permissions; else what the umask leaves */
	uint32_t uid, gid;
};

/* Parse an address. Forms as in Go's net.Listen("tcp", s), for literal addresses and "localhost": ":6060", "host:port",
 * "[::1]:6060". Also "unix:/path" (at most 107 bytes; "unix:@name" is abstract) and "off". After a path may stand
 * "?mode=660", "?owner=UID:GID", or both, joined by "&". A bare "6060" or a bare host
 * is refused, as in Go. Returns 0, or -EINVAL with one line in *why. */
int address_parse(struct span text, struct address *a, const char **why);

/* Print the address as a URL: "http://127.0.0.1:6060/debug/pprof/" (a wildcard host prints as
 * localhost), "unix:/path". */
void address_print(const struct address *a, struct line *l);

/* Bind and listen (CLOEXEC, non-blocking, SO_REUSEADDR for TCP). If a TCP port is taken, use the next free one of the
 * ten above it; a->port and a->sa then have it. A Unix socket file without a listener is replaced; one with a listener
 * counts as taken (-EADDRINUSE). Returns the fd, or a negative errno. */
int address_listen(struct address *a);

/* The same, but try no other port. */
int address_listen_here(struct address *a);

/* Returns whether only this machine can reach the TCP address. */
bool address_is_loopback(const struct address *a);

#endif
