/* front.h - does the port that we wanted belong to another process under the shim?
 *
 * Runs in: init (front_is_ours); listener (front_claim).
 *
 * The process that serves a TCP port also holds an abstract Unix socket named after it (per network namespace, as
 * ports are). Whoever finds the port taken asks there: a process of ours in front means that nothing is
 * wrong, and that this process serves only when it has something to show.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FRONT_H
#define PPROFSHIM_FRONT_H

#include <stdbool.h>
#include <stdint.h>

bool front_is_ours(uint16_t port);

/* The socket that says so, or a negative errno; close it when the port is given up. */
int front_claim(uint16_t port);

#endif
