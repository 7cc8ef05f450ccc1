/* sync.h - the house's own lock, for whatever the listener shares with the program's threads.
 *
 * Runs in: app's thread inside a hook, listener, fork. Never in a signal handler (use lock_try there).
 * Why our own: libc's pthread_mutex_lock is not atomic while libc believes that the process has one
 * thread, and the listener is a thread it does not know of (DESIGN, the bare clone thread).
 *
 * A futex lock of three states (0 free, 1 held, 2 held and waited for), after U. Drepper, "Futexes are
 * tricky", 2011, mutex 3. Critical sections are a few dozen instructions: it spins a little first.
 *
 * Lock order (rank): a thread that holds a lock takes only locks of a higher rank.
 *   LEARN < MODULES < STACKS < HEAP < LIVE < THREADS < CONTENTION < CONTENDED < ARENA
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYNC_H
#define PPROFSHIM_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/os.h"

struct lock {
	uint32_t word;
};

static inline bool lock_try(struct lock *l)
{
	uint32_t expected = 0;
	return __atomic_compare_exchange_n(&l->word, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

void lock_wait(struct lock *l); /* the slow half of lock_take */

static inline void lock_take(struct lock *l)
{
	if (__builtin_expect(!lock_try(l), 0))
		lock_wait(l);
}

static inline void lock_release(struct lock *l)
{
	if (__builtin_expect(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2, 0))
		os_futex_wake(&l->word, 1);
}

/* In the fork child: the lock is held by the thread that forked (it took it in prepare). */
static inline void lock_reset(struct lock *l)
{
	__atomic_store_n(&l->word, 0, __ATOMIC_RELEASE);
}

#endif
