/* visitor.h - a thread of the program's group that exists while the listener needs one: a visitor.
 *
 * Runs in: listener (visitor_call); app's thread inside a hook, or in our handler (visitor_start_wanted).
 *
 * Timers for the program's threads, their CPU clocks and the actions of signals are only to be had from inside the
 * thread group. The listener is outside. When it needs something inside, the next thread of the program that passes a
 * hook makes the visitor; when none does, one is sent our signal, and its handler makes it. It runs what it is given,
 * and is ended when there was nothing to do for a fifth of a second. A program that nobody asks for a profile, a
 * trace or the stacks of running threads never has one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_VISITOR_H
#define PPROFSHIM_VISITOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

/* Run fn(arg) in the program's thread group: system calls and nothing that waits. Returns what it returns, or -ETIME:
 * nobody could be entered. A thread that is inside calls fn itself. */
long visitor_call(long (*fn)(void *arg), void *arg);

/* After each round of the listener's loop: end it, if it has had nothing to do for a while. Returns in how many
 * milliseconds to call again; 0: no more. */
unsigned visitor_rest(void);

/* Make it, if the listener wants one. */
void visitor_start_wanted(void);

bool visitor_is_there(void);

/* Is this signal the one by which the listener asks a thread to make a visitor? Signal handler. */
bool visitor_is_knock(const siginfo_t *info);

/* End it, and wait until it is no thread of the process any more: true, if there was one. App's thread. */
bool visitor_stop(void);

/* The child has none. */
void visitor_fork_child(void);

#endif
