/* process.h - the listener as a process: its first instructions, its parent, its end.
 *
 * Runs in: the listener, in its handlers too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_PROCESS_H
#define PPROFSHIM_LISTENER_PROCESS_H

#include <stdbool.h>

/* The first function of the clone. */
void process_run(void *unused);

_Noreturn void process_end(void);

/* Ends its helper first, which would become an orphan and has the program's memory too. */
_Noreturn void process_leave(void);

bool process_has_parent(void);

/* Ends if the parent is gone. Otherwise the kernel sends a signal when the thread that is now the parent ends. A change
 * of identity cancels that: call it again. */
void process_mind_parent(void);

/* Returns true if the kernel has said so by the descriptor. False: not known. */
bool process_program_has_ended(void);

#endif
