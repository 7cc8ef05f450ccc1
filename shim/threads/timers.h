/* timers.h - what the kernel does for threads of the program's group alone: their timers, their CPU clocks, the
 * interval timer and the actions of signals.
 *
 * Runs in: app's thread, signal handler (timers_delete, timers_cpu_ns); listener through timers_inside.
 * So: one system call each, no lock, no libc, errno untouched. Not while a lock of ours is held: it may take long.
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

/* Run fn(arg) in the program's thread group. Returns what it returns. Any thread; the rest of this file is for code
 * that is there. */
long timers_inside(long (*fn)(void *arg), void *arg);

/* The way in, for a listener that is outside. Before it is first needed. */
void timers_enter_by(long (*way)(long (*fn)(void *arg), void *arg));

/* Timers may only be made between these two, by a thread of the program's group; false: not now, none is to be made.
 * Whoever has made one and put its number where it is found asks timers_are_paused once more. */
bool timers_begin_making(void);
void timers_end_making(void);

/* None is made from now on, until timers_resume has been called as often; it says whether this was the last one. */
void timers_pause(void);
bool timers_resume(void);
bool timers_are_paused(void);

/* Who makes one still is waited for, up to 20 ms. False: nobody did. */
bool timers_wait_for_makers(void);

/* A pause that has lasted for more than 10 seconds was never ended: its thread jumped away. Listener. */
void timers_end_lost_pause(void);

/* How many there are, or are about to be. */
extern HIDDEN uint32_t timers_count; /* atomic */
static inline uint32_t timers_held(void)
{
	return __atomic_load_n(&timers_count, __ATOMIC_RELAXED);
}

/* Count an entry that is about to be free as one that is held (1), or no longer (-1). */
void timers_note_entry(int change);

/* The child has none. */
void timers_fork_child(void);

/* A timer on this clock that sends `signal` with `mark` to a thread, and is set to `value`. Returns 0, or a negative
 * errno: -EAGAIN where the limit of pending signals is reached, -EINVAL where there is no such thread. */
struct timers_request {
	int clock, tid, signal;
	void *mark;
	const struct timespec *value; /* interval, first */
	int timer;                    /* out */
};
int timers_make(struct timers_request *q);

/* A signal of it that is on its way may still arrive. Any thread, the listener too. */
void timers_delete(int timer);

/* The clock of a thread's CPU time, and what it says; 0: the thread has ended. */
int timers_cpu_clock(int tid);
uint64_t timers_cpu_ns(int tid);

/* The interval timer of the process that SIGPROF comes from: what it is set to, 0: to nothing. */
uint64_t timers_interval_us(void);
void timers_set_interval(uint64_t us);

/* Has a thread of the process `pid` ended? Any thread, the listener too. */
bool timers_has_ended(int pid, int tid);

/* The action of a signal as the kernel has it (libc's sigaction refuses our signal). */
struct timers_action {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
int timers_set_action(int sig, const struct timers_action *now, struct timers_action *before);

#endif
