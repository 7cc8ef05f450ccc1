/* ticks.h - the timers of a CPU profile: one per thread, on its CPU clock.
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

/* Makes timers for all threads that have none, and deletes those of threads that ended. Listener.
 * Returns 0, or the first error: -EAGAIN if there is no room for more. */
int ticks_arm_all(struct region *scratch);

/* Deletes all timers; no more are made. Listener. */
void ticks_end(void);

/* A thread begins: makes its timer, if threads have timers now. On that thread. */
void ticks_thread_begins(struct thread *t);

/* Since ticks_begin: were all timers given up because the program needed what they use? How many new threads got none?
 * How often were all removed for a moment? Listener. */
bool ticks_given_up(void);
uint64_t ticks_untimed(void);
uint64_t ticks_pauses(void);

/* For quota.c. Any thread of the program, in a signal handler too; no lock is taken. */
void ticks_drop_all(void);
void ticks_give_up(void);
void ticks_note_pause(void);
void ticks_arm_known(void);
bool ticks_are_on(void);

/* The child has no timers. */
void ticks_fork_child(void);

#endif
