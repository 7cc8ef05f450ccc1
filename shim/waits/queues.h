/* queues.h - who waits for which lock, and since when: so that whoever lets it go knows what delay it caused.
 *
 * Runs in: app's thread inside a hook; fork. Not in a thread that holds locks of ours (it is left out, then).
 *
 * The accounts are those of Go's semrelease (runtime/sema.go): at each release all that wait are charged to it, each
 * for the time since it came, or since the last release where that was later. Go takes the first waiter's delay, and
 * for the others the mean of the longest and the shortest; a sum of the beginnings gives the same exactly, at the same
 * price: n waiters that began at b1 … bn have waited for n * now - (b1 + … + bn).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUEUES_H
#define PPROFSHIM_QUEUES_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/sync.h"

struct thread;

/* A lock that somebody waits for. Never freed: another's when nobody does. */
struct queue {
	struct queue *next; /* in its bucket, or spare there */
	uintptr_t lock;
	uint64_t waiters;
	uint64_t began_ns;          /* the sum of when each began, modulo 2^64 */
	uint64_t charged_ns;        /* the last release; beginnings before it were moved to it */
	uint64_t looked_ns;         /* when the first of them was last looked for */
	struct thread *head, *tail; /* who: in the order they came */
};

/* Locks whose addresses have the same hash. */
struct queue_bucket {
	struct lock lock;
	uint32_t waiters; /* atomic: of all locks here */
	struct queue *first, *spare;
} __attribute__((aligned(64)));

enum { CONTENDED_BUCKET_BITS = 8 };
extern HIDDEN struct queue_bucket queues_buckets[1 << CONTENDED_BUCKET_BITS];

static inline struct queue_bucket *queues_bucket_of(uintptr_t lock)
{
	return &queues_buckets[(uint64_t)lock * 0x9e3779b97f4a7c15u >> (64 - CONTENDED_BUCKET_BITS)];
}

/* Does anybody wait for this lock, or for one like it? No lock is taken. */
static inline bool queues_maybe(uintptr_t lock)
{
	return __atomic_load_n(&queues_bucket_of(lock)->waiters, __ATOMIC_RELAXED) != 0;
}

/* The thread of this record waits for the lock from now_ns (CLOCK_MONOTONIC) on, until it leaves. A thread waits for
 * one lock at a time; one that it never left (a jump out of the call) is left now. Of a thread that ended while it
 * waited, a release takes notice. */
void queues_enter(struct thread *t, uintptr_t lock, uint64_t now_ns);
void queues_leave(struct thread *t);

/* Another thread gets the record, of one that has ended. With locks of ours held. */
void queues_forget(struct thread *t);

/* The caller is about to let this lock go: the delay of all that wait for it, since the last release, in ns; 0: nobody
 * does. */
uint64_t queues_release(uintptr_t lock);

/* In a fork child nobody waits. */
void queues_fork_child(void);

#endif
