/* threads_text.h - the dump of all threads for people: what is stuck, then one block a thread.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_TEXT_H
#define PPROFSHIM_THREADS_TEXT_H

#include "encoder/encoder.h"

/* Write the dump. Returns 0, -ENOMEM or -EAGAIN (encoder.h); after an error the out must not be sent. */
int dump_print(struct region *r, struct out *o, const struct dump_snapshot *s, struct patience *p);

#endif
