/* contended.c - the table of locks that are waited for.
 *
 * Runs in: app's thread inside a hook, marked as busy: a signal handler that interrupts it here leaves the table alone.
 * So: no allocation but the arena's; a bucket's lock is held for a few dozen instructions.
 * Shared: a bucket, under its lock (rank CONTENDED); `waiters` of it is read without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/contended.h"

#include <string.h>

#include "shim/arena.h"
#include "shim/clock.h"
#include "shim/layout.h"
#include "shim/losses.h"
#include "shim/sampler.h"
#include "shim/threads.h"

struct contended_bucket contended_buckets[1 << CONTENDED_BUCKET_BITS] LARGE;

static bool was_used FORKED; /* by this process, or the one that it is a copy of */

static struct contended *find_locked(const struct contended_bucket *b, uintptr_t lock)
{
	struct contended *c = b->first;
	while (c && c->lock != lock)
		c = c->next;
	return c;
}

static struct contended *add_locked(struct contended_bucket *b, uintptr_t lock)
{
	struct contended *c = b->spare;
	if (c)
		b->spare = c->next;
	else if (!(c = arena_alloc(sizeof *c)))
		return NULL;
	*c = (struct contended){.next = b->first, .lock = lock};
	b->first = c;
	return c;
}

static void drop_locked(struct contended_bucket *b, struct contended *c)
{
	struct contended **at = &b->first;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->next = b->spare;
	b->spare = c;
}

static void leave(struct thread *t)
{
	struct contended *c = t->waits_for;
	struct contended_bucket *b = contended_bucket_of(c->lock);
	t->waits_for = NULL;
	lock_take(&b->lock);
	c->began_ns -= t->waits_since_ns > c->charged_ns ? t->waits_since_ns : c->charged_ns;
	__atomic_store_n(&b->waiters, b->waiters - 1, __ATOMIC_RELAXED);
	if (--c->waiters == 0)
		drop_locked(b, c);
	lock_release(&b->lock);
}

void contended_enter(struct thread *t, uintptr_t lock, uint64_t now_ns)
{
	if (!sampler_hold()) {
		losses_count(contention_nested);
		return;
	}
	if (t->waits_for)
		leave(t);
	struct contended_bucket *b = contended_bucket_of(lock);
	__atomic_store_n(&was_used, true, __ATOMIC_RELAXED);
	lock_take(&b->lock);
	struct contended *c = find_locked(b, lock);
	if (!c)
		c = add_locked(b, lock);
	if (c) {
		t->waits_for = c;
		t->waits_since_ns = now_ns;
		c->waiters++;
		c->began_ns += now_ns > c->charged_ns ? now_ns : c->charged_ns;
		__atomic_store_n(&b->waiters, b->waiters + 1, __ATOMIC_RELAXED);
	}
	lock_release(&b->lock);
	sampler_release();
	if (!c)
		losses_count(contention_no_memory);
}

void contended_leave(struct thread *t)
{
	if (!t->waits_for || !sampler_hold())
		return; /* a handler that holds locks of the house: the thread's next wait mends it */
	leave(t);
	sampler_release();
}

void contended_forget(struct thread *t)
{
	if (t->waits_for)
		leave(t);
}

uint64_t contended_release(uintptr_t lock)
{
	struct contended_bucket *b = contended_bucket_of(lock);
	uint64_t delay_ns = 0;
	if (!contended_maybe(lock))
		return 0;
	if (!sampler_hold()) {
		losses_count(contention_nested);
		return 0;
	}
	lock_take(&b->lock);
	struct contended *c = find_locked(b, lock);
	if (c) {
		c->charged_ns = clock_ns(CLOCK_MONOTONIC); /* under the lock: nobody here began later */
		delay_ns = c->waiters * c->charged_ns - c->began_ns;
		c->began_ns = c->waiters * c->charged_ns;
	}
	lock_release(&b->lock);
	sampler_release();
	return delay_ns;
}

/* What was in a bucket is the parent's business; its spare ones are forgotten, too, as another thread may have been at them. */
FORKED_CODE void contended_fork_child(void)
{
	if (!was_used)
		return;
	was_used = false;
	for (int i = 0; i < 1 << CONTENDED_BUCKET_BITS; i++) { /* what is written is copied: leave alone what need not be */
		struct contended_bucket *b = &contended_buckets[i];
		if (b->first || b->spare || b->waiters || b->lock.word)
			memset(b, 0, sizeof *b);
	}
}
