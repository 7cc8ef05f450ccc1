/* pod.h - /pod/debug/pprof/…: a profile of all processes behind the door.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_POD_H
#define PPROFSHIM_POD_H

#include "http/server/exchange.h"

/* Answer with the profile of x->endpoint, merged from those of all processes. */
void pod_answer(struct exchange *x);

#endif
