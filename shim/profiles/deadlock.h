/* deadlock.h - which threads wait for a lock, which thread owns it, and whether they form a ring.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DEADLOCK_H
#define PPROFSHIM_DEADLOCK_H

#include "shim/snapshot.h"
#include "shim/waits/waits.h"

/* Returns the tid of the thread that owns the lock of this wait; 0 if the lock does not tell; -1 if it is no wait for a
 * lock. */
int deadlock_owner(const struct wait *w);

/* A thread that waits for a lock. */
struct lock_wait {
	int tid;
	int owner_tid;             /* 0: not known */
	const struct wait *source; /* in its record: to see whether it still is the same wait */
	struct wait wait;
	size_t next; /* set by deadlock_find_rings: index of the thread that it waits for; SIZE_MAX: none of these */
};

/* Finds the rings. Sets ring[i] to the number of the ring of waits[i], from 1 in the order of their first members, or
 * to 0. Takes time in proportion to `count`. A ring counts only if every thread in it has been in the same wait,
 * blocked in the kernel, since before the owners were read: then none of them can have released its lock.
 * Returns the number of rings. */
size_t deadlock_find_rings(struct region *r, struct lock_wait *waits, size_t count, size_t *ring);

/* A wait for a lock that lasts this long is worth a warning. */
#define STUCK_STALLED_NS 60000000000

#endif
