/* pace.h - long work of the listener in pieces, so that nobody else waits for it.
 *
 * Runs in: listener.
 *
 * A task has a stack of its own. Where its work is long it calls pace() now and then; when its slice is used up, that
 * returns to whoever let the task go on, and comes back when the task is let go on again. There is one thread, so
 * nothing is ever interrupted anywhere else; but what others may use meanwhile must be left fit for use at such a call.
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
	void *sp;    /* where it gave way */
	void (*work)(void *arg);
	void *arg;
	uint64_t again_ns; /* CLOCK_MONOTONIC: it is to go on then */
	bool is_done;
};

/* Make ready to run work(arg). False: no memory; then do without. */
bool pace_start(struct pace_task *t, void (*work)(void *arg), void *arg);

/* Let it work until it is done, or its slice is used up. */
void pace_go_on(struct pace_task *t);

/* Nobody wants the outcome: let it come to its end, without a pause; pace() tells it. */
void pace_finish(struct pace_task *t);

/* Give its stack back. It is done, or a fork child's. */
void pace_end(struct pace_task *t);

/* By the work: if the slice is used up, give way to others. True: nobody wants the outcome, so make an end. Outside of
 * a task it does nothing. */
bool pace(void);

/* Give way for so long at least; outside of a task, sleep. */
bool pace_sleep(unsigned ms);

/* Is this a task that gives way? */
bool pace_is_task(void);

#endif
