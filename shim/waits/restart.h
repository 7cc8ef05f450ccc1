/* restart.h - a system call that our signal cut short goes on as if nothing had been.
 *
 * Runs in: our signal handler (restart_interrupted); app's thread, sent there by the handler (the rest of a transfer),
 * or by the kernel before a handler of the program's (restart_give_up); listener (restart_look).
 *
 * Calls that began while somebody watched say so in their record, and their hooks make them again (waits.h). All
 * others, those that began before and those that libc makes for itself, our handler sets back to the instruction that
 * made them. What it must know for that is the number of the call: the kernel says it of a thread that is blocked
 * (restart_look), and mostly the code that made the call says it, too. Where neither does, the call fails with EINTR.
 *
 * A transfer that came back with less than was asked for cannot be set back: the thread goes on in a function of ours,
 * which moves the rest, and then where it was.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RESTART_H
#define PPROFSHIM_RESTART_H

#include <stdbool.h>
#include <ucontext.h>

#include "shim/threads/record.h"

/* Our handler interrupted this context, with this mask, in no wait of its record. */
void restart_interrupted(ucontext_t *u, uint64_t mask);

/* The same in this wait, whose hook sees to all but a transfer of which a part was moved. */
void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w);

/* A handler of the program's comes between our handler and the call that it set back. */
void restart_give_up(int sig, ucontext_t *u);

/* Right before a signal of ours goes to this thread: note where it is blocked. False, and keep_off: the call would take
 * the signal for the program's; it has to be waited for. Listener. */
bool restart_look(struct thread *t);

#endif
