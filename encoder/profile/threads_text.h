/* threads_text.h - the dump of all threads for people: what is stuck, then one block a thread.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_TEXT_H
#define PPROFSHIM_THREADS_TEXT_H

#include "encoder/encoder.h"

/* 0, or -ENOMEM, -EAGAIN (encoder.h): then the out's content is not to be sent. */
int dump_print(struct region *r, struct out *o, const struct dump_snapshot *s, struct patience *p);

#endif
