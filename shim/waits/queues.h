/* queues.h - which threads wait for which lock, and since when: a thread that unlocks it learns what delay it caused.
 *
 * Runs in: app's thread inside a hook; fork. A thread that holds locks of ours is left out.
 *
 * The accounts are those of Go's semrelease (runtime/sema.go). Each release is charged the delay of all waiters: for
 * each, the time since it began to wait, or since the last release if that was later. Go takes the first waiter's
 * delay, and for the others the mean of the longest and the shortest. We keep the sum of all beginnings, which is exact
 * and costs the same: n waiters that began at b1 … bn have waited for n * now - (b1 + … + bn).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUEUES_H
#define PPROFSHIM_QUEUES_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"

struct thread;

/* A lock that threads wait for. Never freed: when nobody waits, the entry is used for another lock. */
struct queue {
	struct queue *next; /* in its bucket, or spare there */
	uintptr_t lock;
	uint64_t waiters;
	uint64_t began_ns;          /* the sum of when each began, modulo 2^64 */
	uint64_t charged_ns;        /* the last release; earlier beginnings count as this one */
	uint64_t looked_ns;         /* when we last checked that the first waiter still exists */
	struct thread *head, *tail; /* the waiters, in the order they came */
};

/* Locks whose addresses have the same hash. */
struct queue_bucket {
	struct lock lock;
	shared_u32 waiters; /* of all locks here */
	struct queue *first, *spare;
} __attribute__((aligned(64)));

enum { CONTENDED_BUCKET_BITS = 8 };
extern HIDDEN struct queue_bucket queues_buckets[1 << CONTENDED_BUCKET_BITS];

static inline struct queue_bucket *queues_bucket_of(uintptr_t lock)
{
	return &queues_buckets[(uint64_t)lock * 0x9e3779b97f4a7c15u >> (64 - CONTENDED_BUCKET_BITS)];
}

/* Returns true if a thread may wait for this lock (or for another one in its bucket). Takes no lock. */
static inline bool queues_maybe(uintptr_t lock)
{
	return shared_load_relaxed(&queues_bucket_of(lock)->waiters) != 0;
}

/* The thread of this record waits for the lock, from now_ns (CLOCK_MONOTONIC) until queues_leave. A thread waits for
 * one lock at a time: if it never left the last one (it jumped out of the call), it leaves that now. A release notices
 * threads that ended while they waited. */
void queues_enter(struct thread *t, uintptr_t lock, uint64_t now_ns);
void queues_leave(struct thread *t);

/* A thread has ended and its record goes to another one. Called with locks of ours held. */
void queues_forget(struct thread *t);

/* The caller is about to unlock this lock.
 * Returns the delay of all its waiters since the last release, in ns; 0 if there are none. */
uint64_t queues_release(uintptr_t lock);

/* In a fork child no thread waits. */
void queues_fork_child(void);

#endif
