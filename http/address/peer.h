/* peer.h - who is at the other end of a connection.
 *
 * Runs in: listener. System calls alone, memory of the caller.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PEER_H
#define PPROFSHIM_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/text.h"

struct peer {
	enum { PEER_UNKNOWN, PEER_TCP, PEER_UNIX } kind;
	uint8_t ip[16]; /* TCP; an IPv4 address as ::ffff:a.b.c.d */
	uint16_t port;  /* TCP, in host byte order */
	uint32_t uid;   /* Unix socket: the user, as this user namespace has it */
	int32_t pid;    /* Unix socket: the process; 0: not in this pid namespace */
};

/* Look up the peer of a connected socket. */
struct peer peer_of(int fd);

/* Do both count as one client where guesses are counted: the same IPv4 address, IPv6 network of 64 bits, or user? */
bool peer_is_like(const struct peer *a, const struct peer *b);

/* Print "127.0.0.1:51000", "[::1]:51000" or "uid=0,pid=42"; "-" if it is unknown. */
void peer_print(const struct peer *p, struct line *l);

#endif
