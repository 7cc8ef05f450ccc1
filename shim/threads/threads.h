/* threads.h - the threads of the program: who created which, and one record for each that lives.
 *
 * Runs in: app's thread inside pthread_create, the new thread before its start routine, the forking thread in the
 * child; a thread in a trace; the listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREADS_H
#define PPROFSHIM_THREADS_H

#include "shim/base/arena.h"
#include "shim/base/stack.h"
#include "shim/threads/record.h"

/* Take the timer out of a record. The caller has to drop it, when no lock of ours is held.
 * Returns THREAD_NO_TIMER if there is none, or none yet. */
uint32_t threads_take_timer(struct thread *t);
void threads_drop_timer(uint32_t timer);

/* The start of a new thread: it takes this with it. */
struct thread_start {
	void *(*routine)(void *);
	void *arg;
	struct thread_site *site;
	size_t stack_bytes; /* of its stack, as libc says; 0: not known */
	int creator_tid;    /* and when, where a trace is taken (trace_events.h): CLOCK_MONOTONIC */
	uint64_t created_ns;
	uintptr_t handle;          /* filled in by the new thread */
	struct thread_start *next; /* of the spare ones */
};

/* Returns the calling thread's record; NULL if it is not known yet. */
static inline struct thread *threads_self(void)
{
	return self.thread;
}

/* The same, but makes the record if need be. For a thread that is busy and holds no lock of ours. */
struct thread *threads_enter_busy(void);

/* The same, for a thread that is not busy, while a trace is taken. Makes system calls.
 * Returns NULL if it can't be had now. */
struct thread *threads_enter_self(void);

/* Returns the stack of a site; NULL for none. */
const struct stack *threads_site_stack(const struct thread_site *site);

/* All sites, the newest first, up to NULL, and how many threads each has created. Sites are never freed. */
const struct thread_site *threads_sites(void);
const struct thread_site *threads_older_site(const struct thread_site *site);
uint64_t threads_site_count(const struct thread_site *site);

/* Init, first: have `forget` called with every record whose thread has ended, before another thread gets it. It runs
 * under our lock. */
void threads_on_reuse(void (*forget)(struct thread *t));

/* Returns how many threads were ever created. Listener. */
uint64_t threads_created(void);

/* Init: the main thread gets its record. */
void threads_start(void);

/* Returns a start for a thread about to be created from `stack`; NULL if memory or the lock can't be had (counted as
 * lost). */
struct thread_start *threads_prepare(struct stack *stack, void *(*routine)(void *), void *arg);

/* The creation failed: give the start back. */
void threads_cancel(struct thread_start *t);

/* The creation succeeded at this site: count it. The start may be another's by now, so the caller names the site. */
void threads_count(struct thread_site *site);

/* In the new thread: enter its tid, give the start back.
 * Returns its record, or NULL if it can't be had now. */
struct thread *threads_begin(struct thread_start *t);

/* Returns the record of a thread, and makes it if need be; NULL if memory or the lock can't be had. Not while the
 * thread holds locks of ours. */
struct thread *threads_enter(int tid);

/* Call `each` with every record in use, without a lock: a record may become another thread's meanwhile. Any thread. */
void threads_each(void (*each)(struct thread *t, void *arg), void *arg);

/* Facts about a living thread besides its wait. Listener. */
struct thread_facts {
	struct thread *thread; /* NULL: it has no record */
	const struct stack *created_by;
};
struct thread_facts threads_facts(int tid);

/* Collect the pthread_t of every thread, to look up many. Listener.
 * Returns false if there is no memory. */
struct thread_handles {
	struct thread_handle *at;
	size_t mask, count;
};
bool threads_handles(struct region *r, struct thread_handles *h);

/* Returns the tid of the thread with this pthread_t; 0 if it is not known. Listener. */
int threads_tid_of(const struct thread_handles *h, uintptr_t handle);

/* In a fork child only the forking thread is left. */
void threads_fork_child(void);

#endif
