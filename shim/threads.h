/* threads.h - who created which thread.
 *
 * Runs in: app's thread inside pthread_create, and the new thread before its start routine.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_H
#define PPROFSHIM_THREADS_H

#include "shim/snapshot.h"

/* What a new thread takes with it. */
struct thread_start {
	void *(*routine)(void *);
	void *arg;
	struct thread_site *site;
	struct thread_start *next; /* of the spare ones */
};

/* A record for a thread about to be created from `stack`; NULL at the memory cap (counted as lost). */
struct thread_start *threads_prepare(struct stack *stack, void *(*routine)(void *), void *arg);

/* The creation failed: give the record back. */
void threads_cancel(struct thread_start *t);

/* The creation succeeded at this site: count it. The record may be gone by now, so the site is named. */
void threads_count(struct thread_site *site);

/* In the new thread: enter its tid, give the record back. */
void threads_begin(struct thread_start *t);

/* In a fork child only the forking thread is left. */
void threads_fork_prepare(void);
void threads_fork_parent(void);
void threads_fork_child(void);

#endif
