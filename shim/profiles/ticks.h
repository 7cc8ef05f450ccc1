/* ticks.h - the timers of a CPU profile: one a thread, on its CPU clock.
 *
 * Runs in: listener (begin, arm, end); new threads; app's thread inside a hook (quota.c's).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TICKS_H
#define PPROFSHIM_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/threads/threads.h"

/* Threads get timers from now on. Listener. */
void ticks_begin(void);

/* Timers for all that have none; those of threads that ended go. Returns 0, or the first error: -EAGAIN where there is
 * no room for more. Listener. */
int ticks_arm_all(struct region *scratch);

/* No timer is left, and none is made. Listener. */
void ticks_end(void);

/* A thread begins: it gets a timer, if threads do. On that thread. */
void ticks_thread_begins(struct thread *t);

/* Since ticks_begin: did the program need what the timers take, so that there are none any more? How many threads got
 * none when they began? How often were all taken away for a moment? Listener. */
bool ticks_given_up(void);
uint64_t ticks_untimed(void);
uint64_t ticks_pauses(void);

/* For quota.c. Any thread of the program, in a signal handler too: no lock is taken. */
void ticks_drop_all(void);
void ticks_give_up(void);
void ticks_note_pause(void);
void ticks_arm_known(void);
bool ticks_are_on(void);

/* The child has no timers. */
void ticks_fork_child(void);

#endif
