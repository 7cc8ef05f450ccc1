/* pace.h - long work of the listener in pieces, so that nobody else waits for it.
 *
 * Runs in: listener.
 *
 * A task has a stack of its own. Long work calls pace() now and then. When the task's slice is used up, pace() switches
 * back to the caller of pace_go_on, and returns when the task is resumed. There is one thread, so a task is interrupted
 * nowhere else. But at such a call it must leave fit for use what others may use meanwhile.
 *
 *   pace_start ──► pace_go_on ──► work … pace() ─┐      ┌─► pace_go_on … ──► is_done ──► pace_end
 *                       ▲                        ▼      │
 *                       └── returns ◄── the slice is used up
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PACE_H
#define PPROFSHIM_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise it. */
struct pace_task {
	char *stack; /* NULL: there is no task */
	void *sp;    /* its stack pointer where it gave way */
	void (*work)(void *arg);
	void *arg;
	uint64_t again_ns; /* CLOCK_MONOTONIC: when to resume it */
	bool is_done;
};

/* Prepare a task that runs work(arg).
 * Returns false if there is no memory, or no stack switch on this machine: then do without. */
bool pace_start(struct pace_task *t, void (*work)(void *arg), void *arg);

/* Run the task until it is done, or its slice is used up. */
void pace_go_on(struct pace_task *t);

/* Run the task to its end without a pause, as nobody wants the outcome; pace() tells the work. */
void pace_finish(struct pace_task *t);

/* Unmap the task's stack. The task is done, or was inherited by a fork child. */
void pace_end(struct pace_task *t);

/* The work calls this. It gives way to others if the slice is used up. Outside of a task it does nothing.
 * Returns true if nobody wants the outcome: then come to an end. */
bool pace(void);

/* Give way for at least `ms` milliseconds; outside of a task, sleep. Returns as pace() does. */
bool pace_sleep(unsigned ms);

/* Is this a task that gives way? */
bool pace_is_task(void);

/* A piece of work that only one task does at a time. Zero-initialise it. A turn counts no more when the listener that
 * took it has ended, or belongs to the process that this is a copy of. */
struct pace_turn {
	uint32_t listener;
};
bool pace_is_taken(const struct pace_turn *t);

/* Waits for the turn. Returns false if nobody wants the outcome, or if there was no memory to wait with. */
bool pace_take_turn(struct pace_turn *t);
void pace_leave_turn(struct pace_turn *t);

/* A listener begins: no task is under way. */
void pace_begin(void);

#endif
