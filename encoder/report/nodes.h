/* nodes.h - what rows of a table stand for: each function, or line, once, by number.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_NODES_H
#define PPROFSHIM_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/profile/profile.pb-c.h"
#include "encoder/report/table.h"

struct nodes {
	struct table_row *row; /* by number */
	size_t count;
	size_t *first; /* location i has the nodes from of[first[i]] to of[first[i + 1]], innermost first */
	uint32_t *of;
};

/* Number the nodes of all locations, or, with a label, its values. Memory comes from the region.
 * Returns false: there is none. */
bool nodes_of_frames(struct nodes *n, struct region *r, const Pprof__Profile *p, bool lines);
bool nodes_of_label(struct nodes *n, struct region *r, const Pprof__Profile *p, const char *label);

#endif
