/* threads_text.h - the dump of all threads for people: what is stuck, then one block a thread.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_TEXT_H
#define PPROFSHIM_THREADS_TEXT_H

#include "encoder/encoder.h"

/* Write the dump. debug 2: for people and for readers of Go's dumps; from 3 on nothing is folded.
 * Returns 0, -ENOMEM or -EAGAIN (encoder.h); after an error the out must not be sent. */
int dump_print(struct region *r, struct out *o, const struct dump_snapshot *s, int64_t debug, struct patience *p);

#endif
