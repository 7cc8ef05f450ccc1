/* endpoints.h - an endpoint, and the handlers that endpoints.def names.
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
	int kind;       /* enum profile_kind, or -1 */
	unsigned takes; /* parameters: of each the bit 1 << enum parameter_id */
};

/* answer_index, answer_snapshot ...: each in a file of its own. */
#define ENDPOINT(name, handler, kind, count, takes, description) void answer_##handler(struct exchange *x);
#include "http/endpoints/endpoints.def"

#endif
