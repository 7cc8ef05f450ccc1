/* access.h - one line for each request, if PPROF_LOG has the word access.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ACCESS_H
#define PPROFSHIM_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "http/address/peer.h"
#include "shim/base/text.h"

/* The fields of a line: what it says of a request. */
struct access {
	const struct peer *peer;
	struct span method, path, query; /* as sent; empty: the request was not understood */
	struct span user;                /* who showed the token; empty: nobody, or without a name */
	unsigned status;                 /* of the answer; 0: the client went before there was one */
	uint64_t bytes;                  /* sent, the head too */
	uint64_t ns;                     /* from the request's first byte to the answer's last */
	bool is_whole;                   /* the whole answer was handed to the kernel */
};

/* Write "access TIME PEER PID METHOD PATH?QUERY STATUS BYTES MSms USER". The time is UTC (RFC 3339). An empty word is
 * written "-"; an answer that was cut short has a "+" after its bytes. Headers are never written, and so no token is.
 */
void access_tell(const struct access *a);

#endif
