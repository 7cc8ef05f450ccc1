/* sync.h - the profiler's own lock, for what the listener and the program's threads share.
 *
 * Runs in: app's thread inside a hook, marked busy (self_hold); listener; init. Never in our signal handler.
 *
 * Why our own: libc's pthread_mutex_lock is not atomic while libc believes that the process has one thread, and the
 * listener is one that it does not know of.
 *
 * The rule: no thread of the program ever waits for long. A handler of the program may interrupt whoever holds a lock
 * of ours, and wait there for anything: for the very thread that wants the lock (collectors stop all threads so), for
 * a lock of libc. So lock_take gives up after LOCK_PATIENCE_MS, and from then on at once, until the lock is let go.
 * The caller loses its sample and counts it. With that, no order of locks can hang a program, whatever it or libc
 * holds. The rest is good manners, and keeps samples: nothing but what locks.def says is done while a lock is held.
 *
 * A lock says who holds it, and in which generation of copies of the process (house.h). What was held by a thread
 * that is not there any more, in this process or in the one that this is a copy of, is taken over: lock_is_inherited
 * then tells that the structure may be as that thread left it, in the middle of a change.
 * So each is changed such that it is sound after every store, or made anew by who inherits it.
 *
 * locks.def lists them: by rank, what is done while each is held, what an heir finds.
 *
 * None of libc is called under any of them but mem*, strcmp and strlen, no system call made but futex, tgkill(…, 0)
 * and those of peek.h, no memory had but the arena's, which takes no lock. Where signals are not blocked, the thread
 * is busy: what a handler calls then is not recorded and takes no lock. Debug builds (make DEBUG=1) check that, and
 * that ranks rise.
 *
 * A word: tid, generation, three flags. Fast path: one compare-and-exchange.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYNC_H
#define PPROFSHIM_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/self.h"

/* A thread that holds a lock takes only locks of a higher rank. */
enum lock_rank {
#define LOCK(name, file, meanwhile, heir) LOCK_##name,
#include "shim/base/locks.def"
	LOCK_RANKS
};

enum { LOCK_PATIENCE_MS = 100 };

struct lock {
	uint32_t word; /* 0: free */
};

enum {
	LOCK_TID_BITS = 22,                  /* the kernel's PID_MAX_LIMIT */
	LOCK_STAMP_BITS = LOCK_TID_BITS + 7, /* HOUSE_GENERATIONS */
};
#define LOCK_INHERITED (1u << LOCK_STAMP_BITS)    /* its holder took it over */
#define LOCK_STUCK (1u << (LOCK_STAMP_BITS + 1))  /* somebody waited in vain: nobody does until it is free */
#define LOCK_WAITED (1u << (LOCK_STAMP_BITS + 2)) /* to be woken for */

/* A thread that knows its number spares lock_make_stamp the question. Not a child of vfork. */
void lock_know_tid(int tid);

/* The slow ways. 0: it is not known, and can't be asked for where the program has shut itself in (confined.h). */
uint32_t lock_make_stamp(void);
bool lock_wait(struct lock *l, uint32_t stamp);
void lock_wake(struct lock *l);

#ifdef PPROF_DEBUG
void lock_check_take(enum lock_rank rank);
void lock_check_release(void);
void lock_check_handler(bool in_handler); /* of ours: it takes no lock */
#else
static inline void lock_check_take(enum lock_rank rank)
{
	(void)rank;
}
static inline void lock_check_release(void) {}
static inline void lock_check_handler(bool in_handler)
{
	(void)in_handler;
}
#endif

/* What this thread writes into the locks that it takes. */
static inline uint32_t lock_stamp(void)
{
	uint32_t stamp = self.stamp;
	uint32_t generation = __atomic_load_n(&house.generation, __ATOMIC_RELAXED);
	return __builtin_expect(stamp >> LOCK_TID_BITS == generation, 1) ? stamp : lock_make_stamp();
}

/* False: it could not be had in time, or without waiting where somebody has waited in vain before. */
static inline __attribute__((warn_unused_result)) bool lock_take(struct lock *l, enum lock_rank rank)
{
	uint32_t free = 0, stamp = lock_stamp();
	if (__builtin_expect(!stamp, 0))
		return false;
	bool was_free = __atomic_compare_exchange_n(&l->word, &free, stamp, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
	if (__builtin_expect(!was_free, 0) && !lock_wait(l, stamp))
		return false;
	lock_check_take(rank);
	return true;
}

/* By its holder: was it taken over? */
static inline bool lock_is_inherited(const struct lock *l)
{
	return __builtin_expect(__atomic_load_n(&l->word, __ATOMIC_RELAXED) & LOCK_INHERITED, 0);
}

static inline void lock_release(struct lock *l)
{
	lock_check_release();
	if (__builtin_expect(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) & LOCK_WAITED, 0))
		lock_wake(l);
}

/* In a fork child, after the generation changed. The forking thread may have been interrupted while it held locks
 * (fork is called in a handler): it goes on in the child, and holds them there. */
void lock_fork_child(void);

/* In a fork child, after that: is it held by the thread that forked? */
bool lock_is_of_who_forked(const struct lock *l);

#endif
