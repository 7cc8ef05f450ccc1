/* comments.c - what a profile tells users about itself.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/comments.h"

#include <string.h>

void comments_add(struct comments *c, const struct line *l)
{
	char *copy = c->count < COMMENTS_MOST ? region_alloc(c->region, l->len + 1) : NULL;
	if (copy)
		c->at[c->count++] = memcpy(copy, l->at, l->len);
}

void comments_add_count(struct comments *c, uint64_t count, const char *what)
{
	char text[COMMENT_BYTES];
	struct line l = LINE(text);
	if (!count)
		return;
	line_dec(&l, (int64_t)count);
	line_str(&l, what);
	comments_add(c, &l);
}
