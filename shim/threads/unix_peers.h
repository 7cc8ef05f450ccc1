/* unix_peers.h - which unix socket is connected to which: the kernel tells anybody (sock_diag(7)).
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UNIX_PEERS_H
#define PPROFSHIM_UNIX_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unix_socket {
	uint32_t peer;  /* inode; 0: none */
	char path[112]; /* of its own; "@name" for an abstract one; "": none */
};

/* Returns a descriptor to ask with; negative where it can't be had. Close it. A process that has a filter of system
 * calls asks nothing: nobody knows what that does to who opens a socket of another family. */
int unix_peers_open(void);

/* Returns false if there is no such socket in this network namespace, or the kernel does not say. */
bool unix_peers_ask(int fd, uint32_t inode, struct unix_socket *s);

#endif
