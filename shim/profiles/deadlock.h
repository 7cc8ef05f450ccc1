/* deadlock.h - which threads wait for a lock, who owns it, and whether that is a ring.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DEADLOCK_H
#define PPROFSHIM_DEADLOCK_H

#include "shim/snapshot.h"
#include "shim/waits/waits.h"

/* The tid of the thread that owns the lock of this wait, 0 where the lock does not know; -1: it is no wait for a lock.
 */
int deadlock_owner(const struct wait *w);

/* A thread that waits for a lock. */
struct lock_wait {
	int tid;
	int owner_tid;             /* 0: not known */
	const struct wait *source; /* its record's: to see whether it still is the same wait */
	struct wait wait;
	size_t next; /* set by deadlock_find_rings: the index of the one that it waits for; SIZE_MAX: nobody of these */
};

/* Find the rings: ring[i] is set to ring numbers from 1, in the order of their first members (0: in no ring). In time
 * that grows as `count` does. A ring is believed when every thread in it has been in the same wait, blocked in the
 * kernel, since before the owners were read: then none of them can have let go of its lock. Returns the number of
 * rings. */
size_t deadlock_find_rings(struct region *r, struct lock_wait *waits, size_t count, size_t *ring);

/* A wait for a lock is worth a warning after so long. */
#define STUCK_STALLED_NS 60000000000

#endif
