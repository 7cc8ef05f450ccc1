/* visitor.h - a thread of the program's group that exists while the listener needs one: a visitor.
 *
 * Runs in: listener (visitor_call); app's thread inside a hook, or in our handler (visitor_start_wanted).
 *
 * Some calls only work inside the thread group: timers for the program's threads, their CPU clocks, and the actions of
 * signals. The listener is outside. When it needs such a call, the next thread of the program that passes a hook makes
 * a visitor. If none passes, we send our signal to one, and its handler makes the visitor. The visitor runs what it is
 * given. It ends when it has had nothing to do for a fifth of a second. A program that is never asked for a profile, a
 * trace or the stacks of running threads never has one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_VISITOR_H
#define PPROFSHIM_VISITOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

/* Runs fn(arg) in the program's thread group; fn makes system calls and never waits. A caller inside the group calls fn
 * itself.
 * Returns what fn returns; -ETIME if no visitor could be made; -ENOSPC if the kernel has no thread more for the
 * program. */
long visitor_call(long (*fn)(void *arg), void *arg);

/* After each round of the listener's loop: ends the visitor if it has had nothing to do for a while.
 * Returns in how many milliseconds to call again; 0: not needed. */
unsigned visitor_rest(void);

/* Makes a visitor, if the listener wants one. */
void visitor_start_wanted(void);

bool visitor_is_there(void);

/* Returns true if the listener asks by this signal for a visitor. Signal handler. */
bool visitor_is_knock(const siginfo_t *info);

/* Ends the visitor, and waits until it is no thread of the process any more. App's thread.
 * Returns true if there was one. */
bool visitor_stop(void);

/* The same in a program that is being confined. */
bool visitor_end(void);

/* A listener begins: nobody waits for what one that has ended asked for. */
void visitor_begin_anew(void);

/* The child has no visitor. */
void visitor_fork_child(void);

#endif
