/* threads.h - the threads of the program: who created which, and one record for each that lives.
 *
 * Runs in: app's thread inside pthread_create, the new thread before its start routine, the forking thread in the
 * child; a thread in a trace; the listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_H
#define PPROFSHIM_THREADS_H

#include "shim/snapshot.h"
#include "shim/threads/record.h"

/* Take the timer out of a record: it is the caller's to drop, when no lock of ours is held. THREAD_NO_TIMER: it has
 * none, or none yet. */
uint32_t threads_take_timer(struct thread *t);
void threads_drop_timer(uint32_t timer);

/* What a new thread takes with it. */
struct thread_start {
	void *(*routine)(void *);
	void *arg;
	struct thread_site *site;
	bool has_default_size; /* its stack: created without attributes */
	int creator_tid;       /* and when, where a trace is taken (trace_events.h): CLOCK_MONOTONIC */
	uint64_t created_ns;
	uintptr_t handle;          /* filled in by the new thread */
	struct thread_start *next; /* of the spare ones */
};

/* The calling thread's; NULL: not known yet. */
static inline struct thread *threads_self(void)
{
	return self.thread;
}

/* The same, made if need be, by a thread that is busy but holds no lock of ours. */
struct thread *threads_enter_busy(void);

/* The same, by a thread that is not busy, while a trace is taken; NULL where it can't be had now. System calls. */
struct thread *threads_enter_self(void);

/* Where a site is. */
const struct stack *threads_site_stack(const struct thread_site *site);

/* Init, first: `forget` is called with every record that is no thread's any more, before it is another's; under our
 * lock. */
void threads_on_reuse(void (*forget)(struct thread *t));

/* How many were created, ever. Listener. */
uint64_t threads_created(void);

/* Init: the main thread gets its record. */
void threads_start(void);

/* A start for a thread about to be created from `stack`; NULL at the memory cap (counted as lost). */
struct thread_start *threads_prepare(struct stack *stack, void *(*routine)(void *), void *arg);

/* The creation failed: give the record back. */
void threads_cancel(struct thread_start *t);

/* The creation succeeded at this site: count it. The record may be gone by now, so the site is named. */
void threads_count(struct thread_site *site);

/* In the new thread: enter its tid, give the start back. Its record, or NULL when there is no memory. */
struct thread *threads_begin(struct thread_start *t);

/* The record of a thread, made if need be; NULL: no memory. Not while the thread holds locks of ours. */
struct thread *threads_enter(int tid);

/* Call `each` with the record of every thread that lives, without a lock: it may become another's meanwhile. Any
 * thread. */
void threads_each(void (*each)(struct thread *t, void *arg), void *arg);

/* What is known of a living thread besides its wait. Listener. */
struct thread_facts {
	struct thread *thread; /* NULL: it has no record */
	const struct stack *created_by;
};
struct thread_facts threads_facts(int tid);

/* The pthread_t of every thread, to look for many. False: no memory. Listener. */
struct thread_handles {
	struct thread_handle *at;
	size_t mask, count;
};
bool threads_handles(struct region *r, struct thread_handles *h);

/* The tid of the thread with this pthread_t; 0: not known. Listener. */
int threads_tid_of(const struct thread_handles *h, uintptr_t handle);

/* In a fork child only the forking thread is left. */
void threads_fork_child(void);

#endif
