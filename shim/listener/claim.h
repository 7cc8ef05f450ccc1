/* claim.h - does the port that we wanted belong to another process under the shim?
 *
 * Runs in: init (claim_is_ours); listener (claim_make).
 *
 * The process that serves a TCP port also holds an abstract Unix socket named after it (per network namespace, as
 * ports are). Whoever finds the port taken asks there: a process of ours in front means that nothing is
 * wrong, and that this process serves only when it has something to show. Another such socket has the program's pid in
 * its name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CLAIM_H
#define PPROFSHIM_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

bool claim_is_ours(uint16_t port);

/* Is the program dead whose listener holds the port? Then the port is free in a moment: the listener hears of the
 * death, but whoever started that program may start the next one before. */
bool claim_is_left(uint16_t port);

/* The sockets that say whose the port is; a negative errno where one can't be had. Close them when the port is given
 * up. */
struct claim {
	int port_fd, pid_fd;
};
struct claim claim_make(uint16_t port);
void claim_give_up(struct claim *c);

#endif
