/* guard.h - may this request be answered?
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GUARD_H
#define PPROFSHIM_GUARD_H

#include <stdbool.h>

#include "http/server/exchange.h"

/* Look at Host (DNS rebinding), Sec-Fetch-Site (another site's page) and the token. If the request may not be answered,
 * fill x->answer with the refusal, or set x->resume for one that has to wait.
 * Returns whether it may be answered. */
bool guard_admits(struct exchange *x);

#endif
