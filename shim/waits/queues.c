/* queues.c - the table of locks that threads wait for.
 *
 * Runs in: app's thread inside a hook, marked as busy: a signal handler that interrupts it here leaves the table alone.
 * So: no allocation but the arena's; a bucket's lock is held for a few dozen instructions.
 * Shared: a bucket, under its lock (rank CONTENDED); `waiters` of it is read without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/queues.h"

#include <string.h>

#include "shim/base/arena.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/losses.h"
#include "shim/base/self.h"
#include "shim/threads/threads.h"

struct queue_bucket queues_buckets[1 << CONTENDED_BUCKET_BITS] LARGE;

static shared_bool was_used FORKED; /* by this process, or the one that it is a copy of */

static struct queue *find_locked(const struct queue_bucket *b, uintptr_t lock)
{
	struct queue *c = b->first;
	while (c && c->lock != lock)
		c = c->next;
	return c;
}

static struct queue *add_locked(struct queue_bucket *b, uintptr_t lock)
{
	struct queue *c = b->spare;
	if (c)
		b->spare = c->next;
	else if (!(c = arena_alloc(sizeof *c)))
		return NULL;
	*c = (struct queue){.next = b->first, .lock = lock};
	b->first = c;
	return c;
}

static void drop_locked(struct queue_bucket *b, struct queue **at)
{
	struct queue *c = *at;
	*at = c->next;
	c->next = b->spare;
	b->spare = c;
}

/* A bucket that another thread left in the middle of a change is emptied: all its waiters are forgotten. */
static bool take_bucket(struct queue_bucket *b)
{
	if (!lock_take(&b->lock, LOCK_CONTENDED))
		return false;
	if (lock_is_inherited(&b->lock)) {
		b->first = b->spare = NULL;
		shared_store_relaxed(&b->waiters, 0);
	}
	return true;
}

/* Returns the pointer that links the entry; NULL if it is not in the bucket. */
static struct queue **link_locked(struct queue_bucket *b, const struct queue *c)
{
	struct queue **at = &b->first;
	while (*at && *at != c)
		at = &(*at)->next;
	return *at ? at : NULL;
}

static void enqueue_locked(struct queue *c, struct thread *t)
{
	t->waits_before = c->tail;
	t->waits_after = NULL;
	*(c->tail ? &c->tail->waits_after : &c->head) = t;
	c->tail = t;
}

static void dequeue_locked(struct queue *c, struct thread *t)
{
	*(t->waits_before ? &t->waits_before->waits_after : &c->head) = t->waits_after;
	*(t->waits_after ? &t->waits_after->waits_before : &c->tail) = t->waits_before;
}

/* Takes the thread, which waits for this lock, out of the accounts. */
static void leave_locked(struct queue_bucket *b, struct queue *c, struct thread *t)
{
	dequeue_locked(c, t);
	c->began_ns -= t->waits_since_ns > c->charged_ns ? t->waits_since_ns : c->charged_ns;
	c->waiters--;
	shared_store_relaxed(&b->waiters, shared_own(&b->waiters) - 1);
}

/* A handler that interrupts this may fork, and its child may come back here with an empty table (below). Then there is
 * nothing to leave, and hardly anything can go wrong. If the lock can't be had, the thread's next wait tries again. */
static void leave(struct thread *t)
{
	struct queue *c = shared_load_relaxed(&t->waits_for);
	if (!c)
		return;
	struct queue_bucket *b = queues_bucket_of(c->lock);
	if (!take_bucket(b))
		return;
	struct queue **at = shared_own(&t->waits_for) == c ? link_locked(b, c) : NULL;
	if (at) {
		leave_locked(b, c, t);
		if (c->waiters == 0 && (at = link_locked(b, c)))
			drop_locked(b, at);
	}
	shared_set_own(&t->waits_for, NULL);
	lock_release(&b->lock);
}

/* A thread that jumped out of its wait and then ended is still in the queue. Sooner or later it is the first there. */
static void look_for_first_locked(struct queue_bucket *b, struct queue *c, uint64_t now_ns)
{
	enum { PATIENCE_NS = 100000000 };
	struct thread *t = c->head;
	if (confined() || now_ns - t->waits_since_ns < PATIENCE_NS || now_ns - c->looked_ns < PATIENCE_NS)
		return;
	c->looked_ns = now_ns;
	if (!shared_load_relaxed(&t->tid) ||
	    os_call(SYS_tgkill, house_pid(), shared_load_relaxed(&t->tid), 0) == -ESRCH) {
		leave_locked(b, c, t);
		shared_set_own(&t->waits_for, NULL);
	}
}

static bool enter_locked(struct queue_bucket *b, struct thread *t, uintptr_t lock, uint64_t now_ns)
{
	struct queue *c = find_locked(b, lock);
	if (!c && !(c = add_locked(b, lock)))
		return false;
	shared_set_own(&t->waits_for, c);
	t->waits_since_ns = now_ns;
	enqueue_locked(c, t);
	c->waiters++;
	c->began_ns += now_ns > c->charged_ns ? now_ns : c->charged_ns;
	shared_store_relaxed(&b->waiters, shared_own(&b->waiters) + 1);
	return true;
}

void queues_enter(struct thread *t, uintptr_t lock, uint64_t now_ns)
{
	if (!self_hold()) {
		losses_count(contention_nested);
		return;
	}
	leave(t);
	struct queue_bucket *b = queues_bucket_of(lock);
	shared_store_relaxed(&was_used, true);
	bool has_lock = !shared_own(&t->waits_for) && take_bucket(b),
	     has_memory = has_lock && enter_locked(b, t, lock, now_ns);
	if (has_lock)
		lock_release(&b->lock);
	self_release();
	if (!has_lock)
		losses_count(lock_not_had);
	else if (!has_memory)
		losses_count(contention_no_memory);
}

void queues_leave(struct thread *t)
{
	if (!shared_own(&t->waits_for) || !self_hold())
		return; /* a handler that holds locks of ours: the thread's next wait mends it */
	leave(t);
	self_release();
}

void queues_forget(struct thread *t)
{
	leave(t);
}

static uint64_t charge_locked(struct queue_bucket *b, uintptr_t lock)
{
	struct queue *c = find_locked(b, lock);
	if (!c)
		return 0;
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC); /* under the lock: nobody here began later */
	look_for_first_locked(b, c, now_ns);
	uint64_t delay_ns = c->waiters * now_ns - c->began_ns;
	c->began_ns = c->waiters * now_ns;
	c->charged_ns = now_ns;
	if (c->waiters == 0)
		drop_locked(b, link_locked(b, c));
	return delay_ns;
}

uint64_t queues_release(uintptr_t lock)
{
	struct queue_bucket *b = queues_bucket_of(lock);
	uint64_t delay_ns = 0;
	if (!queues_maybe(lock))
		return 0;
	if (!self_hold()) {
		losses_count(contention_nested);
		return 0;
	}
	if (take_bucket(b)) {
		delay_ns = charge_locked(b, lock);
		lock_release(&b->lock);
	} else {
		losses_count(lock_not_had);
	}
	self_release();
	return delay_ns;
}

/* Entries in a bucket belong to the parent. Spare entries are forgotten, too, as another thread may have been changing
 * them. */
FORKED_CODE void queues_fork_child(void)
{
	if (!shared_own(&was_used))
		return;
	shared_set_own(&was_used, false);
	for (int i = 0; i < 1 << CONTENDED_BUCKET_BITS;
	     i++) { /* a write copies the page: leave alone what needs no change */
		struct queue_bucket *b = &queues_buckets[i];
		if (b->first || b->spare || shared_own(&b->waiters) || shared_own(&b->lock.word))
			memset(b, 0, sizeof *b);
	}
}
