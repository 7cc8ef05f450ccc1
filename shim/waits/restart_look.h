/* restart_look.h - where the kernel says that a thread is blocked: noted by the listener, read by the handler.
 *
 * Runs in: our signal handler. The listener writes the note: restart_look (restart.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RESTART_LOOK_H
#define PPROFSHIM_RESTART_LOOK_H

#include <stdbool.h>
#include <ucontext.h>

#include "shim/threads/record.h"

/* Copies what the listener noted, consistently. Returns false if there is no note; r may be NULL. */
bool restart_note_read(const struct restart *r, struct restart *note);

/* Is the note about the call that was interrupted in this context? The place and the arguments are the same (but for a
 * time-out, which may have been cut already), so it is at least a like call. */
bool restart_note_is_of(const struct restart *note, ucontext_t *u);

/* Is it that very call? Yes if the thread was not woken since. */
bool restart_note_is_still(const struct restart *note);

#endif
