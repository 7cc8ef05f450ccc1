/* endpoints.h - the table of routes, for those who print it.
 *
 * Runs in: listener. Read-only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ENDPOINTS_H
#define PPROFSHIM_ENDPOINTS_H

#include "http/server/exchange.h"

struct endpoint {
	const char *name; /* below /debug/pprof/ */
	void (*answer)(struct exchange *x);
	int kind;         /* enum profile_kind, or -1 */
	int count_offset; /* in struct snapshot_counts, or -1 */
	const char *description;
};

extern const struct endpoint endpoints[];
extern const size_t endpoints_count;

void answer_index(struct exchange *x); /* index.c */

/* Answer with a server error of one line for rc, a negative errno of the encoder or of the kernel. */
void answer_failure(struct exchange *x, int rc);

#endif
