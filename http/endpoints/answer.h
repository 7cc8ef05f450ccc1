/* answer.h - functions that the handlers of several endpoints share.
 *
 * Runs in: listener. Memory of the exchange's region. A handler does not wait: it sets x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ANSWER_H
#define PPROFSHIM_ANSWER_H

#include "encoder/encoder.h"
#include "http/endpoints/endpoints.h"

/* Answer with a server error of one line for rc, a negative errno of the encoder or of the kernel. */
void answer_failure(struct exchange *x, int rc);

/* Begin an answer that browsers save as a file: the endpoint's name and this suffix. */
void answer_attachment(struct exchange *x, const char *suffix);

/* Give the exchange zeroed memory for what its endpoint keeps.
 *
 * Returns it, also in x->own; NULL: there is none, and the answer says so. */
void *answer_own(struct exchange *x, size_t size);

/* Answer with the output of `encode`, which returns 0, a negative errno, or -EAGAIN if names are missing. It is then
 * called again when they have come, for at most `most_s` seconds (0: the default), and other clients are served
 * meanwhile. */
void answer_when_named(struct exchange *x, int (*encode)(struct exchange *x, struct patience *p), unsigned most_s);

/* Release what the handler holds while it waits, as x->abandon would. */
void answer_end_wait(struct exchange *x);

/* Have `resume` called at `ns` (CLOCK_MONOTONIC), or at `end_ns` if that is sooner. */
void answer_pause(struct exchange *x, void (*resume)(struct exchange *x), uint64_t ns, uint64_t end_ns);

/* Answer that a recording could not begin. rc says why, `what` is its name, and `busy` is Go's text for -EBUSY. */
void answer_refuse(struct exchange *x, int rc, const char *what, const char *busy);

#endif
