/* guesses.h - the wrong tokens of each peer.
 *
 * Runs in: listener. A static table, no system call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GUESSES_H
#define PPROFSHIM_GUESSES_H

#include <stdint.h>

#include "http/address/peer.h"

/* Count a wrong token of this peer.
 * Returns the milliseconds that its answer has to wait: 100, doubled for each further one, at most 5000. The
 * guesses of a peer are forgotten after a minute without one. */
unsigned guesses_count(const struct peer *p, uint64_t now_ns);

#endif
