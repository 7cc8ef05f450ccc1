/* take.h - the counters of one kind of profile, as the library has them now.
 *
 * Runs in: listener. Memory of the region that is given.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TAKE_H
#define PPROFSHIM_TAKE_H

#include "encoder/encoder.h"

/* Take a snapshot of any kind but the CPU profile. Returns 0, -ENOMEM, or -EINVAL for that one. */
int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s);

#endif
