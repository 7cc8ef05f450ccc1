/* restart_transfers.h - the rest of a transfer, which our signal cut short after it had moved a part.
 *
 * Runs in: our signal handler.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RESTART_TRANSFERS_H
#define PPROFSHIM_RESTART_TRANSFERS_H

#include <ucontext.h>

/* Has the thread move the rest when the handler returns, if the call `nr` moves bytes and has moved too few. */
void restart_go_on_moving(ucontext_t *u, long nr);

#endif
