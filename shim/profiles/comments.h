/* comments.h - what a profile tells users about itself: samples that were lost, work that was done in another way.
 *
 * Runs in: listener. In the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_COMMENTS_H
#define PPROFSHIM_COMMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/text.h"

enum {
	COMMENTS_MOST = 64, /* further comments are dropped */
	COMMENT_BYTES = 256,
};

struct comments {
	struct region *region;
	size_t count;
	const char *at[COMMENTS_MOST];
};

/* Add a copy of the line. */
void comments_add(struct comments *c, const struct line *l);

/* Add "<count> <what>" if count is not 0; `what` begins with a space. */
void comments_add_count(struct comments *c, uint64_t count, const char *what);

#endif
