/* edges.h - who called whom in a table, and whether the call was inlined.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EDGES_H
#define PPROFSHIM_EDGES_H

#include <stdbool.h>

#include "encoder/report/nodes.h"

/* Set row.inlined of the nodes, as pprof marks them: of the calls between nodes that are kept, those count that come
 * first in a sample from its root on, and that weigh `least` or more in all. `kept` is by number of node.
 * Returns false: there is no memory. */
bool edges_mark_inlined(const struct nodes *n, const Pprof__Profile *p, size_t type, const bool *kept, int64_t least);

#endif
