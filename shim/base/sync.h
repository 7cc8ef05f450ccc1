/* sync.h - the profiler's own lock, for what the listener and the program's threads share.
 *
 * Runs in: app's thread inside a hook, marked busy (self_hold); listener; init. Never in our signal handler.
 *
 * Why our own: libc's pthread_mutex_lock is not atomic while libc believes that the process has one thread, and libc
 * does not know of the listener.
 *
 * The rule: no thread of the program ever waits for long. One of its handlers may interrupt a thread that holds a lock
 * of ours, and wait there for anything: for the very thread that wants the lock (collectors stop all threads this way),
 * or for a lock of libc. So lock_take gives up after LOCK_PATIENCE_MS. From then on it gives up at once, until the lock
 * is released. The caller loses its sample and counts the loss. So no order of locks can hang a program, whatever locks
 * it or libc holds. The rest only saves samples: while a lock is held, nothing is done but what locks.def says.
 *
 * A lock names its holder, and the holder's generation of copies of the process (house.h). If the holder is gone, in
 * this process or in the one that this is a copy of, the next thread takes the lock over. lock_is_inherited then tells
 * it that the structure may be in the middle of a change. So each structure is sound after every store to it, or is
 * made anew by the thread that inherits it.
 *
 * locks.def lists the locks by rank, with what is done while each is held, and what the inheriting thread finds.
 *
 * Code under a lock calls nothing of libc but mem*, strcmp and strlen. It makes no system calls but futex, tkill and
 * tgkill with signal 0, those of peek.h, and the arena's, which takes no lock. (COMMANDS and LEARN do more: locks.def,
 * own_stack.h.) Where signals are not blocked, the thread is busy: what a handler calls then is not recorded and takes
 * no lock. Debug builds (make DEBUG=1) check that, and that ranks rise.
 *
 * The word holds a tid, a generation and three flags. Fast path: one compare-and-exchange.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYNC_H
#define PPROFSHIM_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"

/* A thread that holds a lock takes only locks of a higher rank. */
enum lock_rank {
#define LOCK(name, file, meanwhile, heir) LOCK_##name,
#include "shim/base/locks.def"
	LOCK_RANKS
};

enum { LOCK_PATIENCE_MS = 100 };

struct lock {
	shared_u32 word; /* 0: free */
};

enum {
	LOCK_TID_BITS = 22,                  /* the kernel's PID_MAX_LIMIT */
	LOCK_STAMP_BITS = LOCK_TID_BITS + 7, /* HOUSE_GENERATIONS */
};
#define LOCK_INHERITED (1u << LOCK_STAMP_BITS)    /* its holder took it over */
#define LOCK_STUCK (1u << (LOCK_STAMP_BITS + 1))  /* a thread waited in vain: none waits until it is free */
#define LOCK_WAITED (1u << (LOCK_STAMP_BITS + 2)) /* a thread sleeps and has to be woken */

/* A thread that knows its tid says so, which saves lock_make_stamp a system call. Not in a child of vfork. */
void lock_know_tid(int tid);

/* The slow paths. lock_make_stamp returns 0 in a confined program (confined.h), where the tid can't be asked for. */
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

/* Returns what this thread writes into the locks that it takes. */
static inline uint32_t lock_stamp(void)
{
	uint32_t stamp = self.stamp;
	uint32_t generation = shared_load_relaxed(&house.generation);
	return __builtin_expect(stamp >> LOCK_TID_BITS == generation, 1) ? stamp : lock_make_stamp();
}

/* Returns false if the lock was not released in time, or is held and another thread has waited in vain for it. */
static inline __attribute__((warn_unused_result)) bool lock_take(struct lock *l, enum lock_rank rank)
{
	uint32_t free = 0, stamp = lock_stamp();
	if (__builtin_expect(!stamp, 0))
		return false;
	bool was_free = shared_cas_acquire(&l->word, &free, stamp);
	if (__builtin_expect(!was_free, 0) && !lock_wait(l, stamp))
		return false;
	lock_check_take(rank);
	return true;
}

/* For the holder: was the lock taken over from a thread that is gone? */
static inline bool lock_is_inherited(const struct lock *l)
{
	return __builtin_expect(shared_load_relaxed(&l->word) & LOCK_INHERITED, 0);
}

static inline void lock_release(struct lock *l)
{
	lock_check_release();
	if (__builtin_expect(shared_exchange_release(&l->word, 0) & LOCK_WAITED, 0))
		lock_wake(l);
}

/* In a fork child, after the generation changed. The forking thread may have been interrupted while it held locks (a
 * handler called fork). It goes on in the child, and holds them there. */
void lock_fork_child(void);

/* In a fork child, after lock_fork_child: does the thread that forked hold the lock? */
bool lock_is_of_who_forked(const struct lock *l);

#endif
