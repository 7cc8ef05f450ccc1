/* restart.h - resume a system call that our signal cut short, so that the program does not notice.
 *
 * Runs in: our signal handler (restart_interrupted); app's thread, sent there by the handler (the rest of a transfer),
 * or by the kernel before a handler of the program's (restart_give_up); listener (restart_look).
 *
 * A call that the thread's record shows as a wait is made again by its hook (waits.h). For all other calls (those that
 * began before anybody watched, and those that libc makes for itself) our handler sets the thread back to the
 * instruction that made the call. For that it must know the number of the call. The kernel tells it for a blocked
 * thread (restart_look); mostly the code before the call shows it, too. If neither does, the call fails with EINTR.
 *
 * A transfer that moved only a part cannot be made again. Instead the thread moves the rest in a function of ours, and
 * then returns to where it was.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RESTART_H
#define PPROFSHIM_RESTART_H

#include <stdbool.h>
#include <ucontext.h>

#include "shim/threads/record.h"

/* Our handler interrupted this context, with this signal mask, and the thread's record shows no wait. */
void restart_interrupted(ucontext_t *u, uint64_t mask);

/* The same while the record shows this wait. Its hook handles everything but a transfer that moved a part. */
void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w);

/* A handler of the program's runs right behind a system call, or between our handler and the call that ours set back.
 */
void restart_give_up(int sig, ucontext_t *u);

/* Notes where this thread is blocked, right before we send it our signal. Listener.
 * Returns false, and sets keep_off, if the call would take our signal for one of the program's: then the caller has to
 * wait for the call to end. */
bool restart_look(struct thread *t);

#endif
