/* jit.h - names of code that was made at run time, from /tmp/perf-<pid>.map.
 *
 * Runs in: listener. All memory from the request's region. The file's writer may be hostile.
 *
 * Format: Documentation of Linux' perf, jit-interface.txt: lines "START SIZE NAME", numbers in hex without 0x (node and
 * java write 0x sometimes: both are taken), NAME is the rest of the line. A later line replaces an earlier one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_JIT_H
#define PPROFSHIM_JIT_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

/* One address to name. */
struct jit_query {
	uintptr_t address;
	/* the answer */
	struct span name; /* in the region; empty: not known */
	uintptr_t start;  /* where that function begins */
};

/* Answer `queries`, sorted by address, as far as the file names them.
 * Returns 0; -ENOENT: there is no such file; -EPERM: other users could have written it; or another negative errno. */
int jit_names(struct region *r, struct jit_query *queries, size_t count);

#endif
