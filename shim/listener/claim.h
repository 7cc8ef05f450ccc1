/* claim.h - does the port that we wanted belong to another process under the shim?
 *
 * Runs in: init (claim_is_ours); listener (claim_make).
 *
 * The process that serves a TCP port also holds an abstract Unix socket named after it (per network namespace, like
 * ports). A process that finds the port taken looks for that socket. If it is there, one of our processes has the port:
 * nothing is wrong, and the new process joins it later (http/door/door.h). A second socket has the program's
 * pid in its name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CLAIM_H
#define PPROFSHIM_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

bool claim_is_ours(uint16_t port);

/* Returns true if the program whose listener holds the port is dead. Then the port will be free in a moment: the
 * listener is told of the death, but the next program may be started before that. */
bool claim_is_left(uint16_t port);

/* Around the look for a port in init: nobody else under the shim looks for it meanwhile, so a port that is taken then
 * is claimed, or a stranger's. Returns a socket, to be closed when the listener serves; -EADDRINUSE: another process is
 * there just now; or another negative errno. */
int claim_begin(uint16_t port);

/* The sockets that tell who has the port; a negative errno in place of one that can't be had. Close them when the port
 * is given up. */
struct claim {
	int port_fd, pid_fd;
};
struct claim claim_make(uint16_t port);
void claim_give_up(struct claim *c);

#endif
