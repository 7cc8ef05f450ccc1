/* timers.h - what the kernel does for threads of the program's group alone: their timers, their CPU clocks, the
 * interval timer and the actions of signals.
 *
 * Runs in: app's thread, signal handler (timers_delete, timers_cpu_ns); listener through timers_inside.
 * So: system calls alone, no lock, no libc, errno untouched. Not while a lock of ours is held: they may take long.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TIMERS_H
#define PPROFSHIM_TIMERS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "shim/base/exports.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

/* Run fn(arg) in the program's thread group. Any thread. Where nothing else is said, the rest of this file is for code
 * that runs in that group.
 * Returns what fn returns. */
long timers_inside(long (*fn)(void *arg), void *arg);

/* Set the way in, for a listener outside the group, before it is first needed. */
void timers_enter_by(long (*way)(long (*fn)(void *arg), void *arg));

/* Make timers only between these two, in a thread of the program's group. After storing a timer's number where it is
 * found, ask timers_are_paused once more.
 * Returns false if no timer may be made now. */
bool timers_begin_making(void);
void timers_end_making(void);

/* Forbid new timers until timers_resume has been called as often. timers_resume returns whether this was the last
 * pause. */
void timers_pause(void);
bool timers_resume(void);
bool timers_are_paused(void);

/* Wait up to 20 ms for threads that are still making a timer.
 * Returns false if there were none. */
bool timers_wait_for_makers(void);

/* End a pause that has lasted for more than 10 seconds: its thread has jumped away. Listener. */
void timers_end_lost_pause(void);

/* How many timers there are, or are about to be. */
extern HIDDEN shared_u32 timers_count;
static inline uint32_t timers_held(void)
{
	return shared_load_relaxed(&timers_count);
}

/* Count one more timer as held (1) while signals of deleted timers still use their entries, or stop that (-1). */
void timers_note_entry(int change);

/* In a fork child: it has no timers. */
void timers_fork_child(void);

/* Make a timer on this clock that sends `signal` with `mark` to a thread, and set it to `value`.
 * Returns 0, or a negative errno: -EAGAIN at the limit of pending signals, -EINVAL if there is no such thread. */
struct timers_request {
	int clock, tid, signal;
	void *mark;
	const struct timespec *value; /* interval, first */
	int timer;                    /* out */
};
int timers_make(struct timers_request *q);

/* Delete a timer. A signal that it has sent may still arrive. Any thread, the listener too. */
void timers_delete(int timer);

/* Return the clock of a thread's CPU time, and its nanoseconds; 0 if the thread has ended. */
int timers_cpu_clock(int tid);
uint64_t timers_cpu_ns(int tid);

/* Get and set the process's interval timer that sends SIGPROF, in microseconds; 0: off. */
uint64_t timers_interval_us(void);
void timers_set_interval(uint64_t us);

/* Has a thread of the process `pid` ended? Any thread, the listener too. */
bool timers_has_ended(int pid, int tid);

/* Get and set the action of a signal as the kernel has it (libc's sigaction refuses our signal). */
struct timers_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
int timers_set_action(int sig, const struct timers_action *now, struct timers_action *before);

#endif
