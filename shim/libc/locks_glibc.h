/* locks_glibc.h - the words of glibc's locks (2.25 and later; mutexes and semaphores of 2.17, too).
 *
 * Runs in: as locks.h says. Included by it alone.
 *
 * Formats: <bits/struct_mutex.h> (__lock, __count, __owner, __nusers, __kind), <bits/struct_rwlock.h>, and for their
 * meaning, glibc's lowlevellock.h, pthreadP.h, pthread_rwlock_common.c and internaltypes.h (struct new_sem, on 64-bit
 * little-endian machines).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOCKS_GLIBC_H
#define PPROFSHIM_LOCKS_GLIBC_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/shared.h"

/* ---- mutexes: 0, free; 1, locked; 2, locked and waited for. Robust and priority-inheriting ones have their owner
 * there. mtx_t is a pthread_mutex_t ---- */

ARCH_INLINE bool locks_mutex_is_free(const void *mutex)
{
	return arch_word_is(mutex, 0);
}

/* Is it locked, and certainly nobody waits? */
ARCH_INLINE bool locks_mutex_is_not_waited_for(const void *mutex)
{
	return arch_word_is(mutex, 1);
}

/* Has it a priority ceiling, which is kept in the upper bits of the word? */
static inline bool locks_mutex_has_ceiling(const pthread_mutex_t *m)
{
	enum { CEILING_KIND = 0x40 };
	return m->__data.__kind & CEILING_KIND;
}

static inline bool locks_mutex_below_ceiling_is_free(const pthread_mutex_t *m)
{
	enum { STATE_BITS = 0x7ffff };
	return !(m->__data.__lock & STATE_BITS);
}

static inline bool locks_mutex_is_recursive(const pthread_mutex_t *m)
{
	return (m->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE;
}

/* Does it refuse to be unlocked by another thread than its owner? */
static inline bool locks_mutex_knows_owner(const pthread_mutex_t *m)
{
	enum { ROBUST_KIND = 0x10 };
	int kind = m->__data.__kind;
	return kind & (3 | ROBUST_KIND) && (kind & 3) != PTHREAD_MUTEX_ADAPTIVE_NP;
}

static inline int locks_mutex_owner(const pthread_mutex_t *m)
{
	return m->__data.__owner;
}

/* How often its owner has locked it. */
static inline unsigned locks_mutex_depth(const pthread_mutex_t *m)
{
	return m->__data.__count;
}

/* ---- rwlocks: flags for the writer in the low bits (1: writers' turn, 2: locked for writing, 4: readers wait),
 * readers are counted above. The second word counts writers that are preferred and wait; bit 1 of the fourth says that
 * a writer sleeps ---- */

static inline unsigned locks_rwlock_word_(const void *lock)
{
	return word_load_relaxed((const unsigned *)lock);
}

/* A reader waits for the writer that has its turn; where writers are preferred, also for a writer that waits. */
ARCH_INLINE bool locks_rwlock_blocks_reader(const pthread_rwlock_t *lock)
{
	return __builtin_expect(arch_has_low_bits(lock, 2), 0) &&
	       ((locks_rwlock_word_(lock) & 3) == 3 || lock->__data.__flags != 0);
}

ARCH_INLINE bool locks_rwlock_blocks_writer(const pthread_rwlock_t *lock)
{
	return (locks_rwlock_word_(lock) & ~5u) != 0;
}

/* Does a writer have it, and no reader wait? */
ARCH_INLINE bool locks_rwlock_is_written(const void *lock)
{
	return word_load_relaxed((const uint64_t *)lock) == 3;
}

/* Does a writer sleep until another writer releases the lock? */
ARCH_INLINE bool locks_rwlock_writer_sleeps(const void *lock)
{
	return arch_has_low_bits((const unsigned *)lock + 3, 2);
}

/* Has a writer it, or its turn? */
ARCH_INLINE bool locks_rwlock_has_writer(const void *lock)
{
	return arch_has_low_bits(lock, 3);
}

/* Are there more readers than one, and no writer? */
static inline bool locks_rwlock_has_readers(const pthread_rwlock_t *lock)
{
	unsigned word = locks_rwlock_word_(lock);
	return !(word & 1) && word >> 3 > 1;
}

/* ---- others ---- */

/* The first word of a semaphore is its value. */
ARCH_INLINE bool locks_sem_is_empty(const void *sem)
{
	return arch_word_is(sem, 0);
}

ARCH_INLINE bool locks_spin_is_free(const void *lock)
{
	return arch_word_is(lock, ARCH_SPIN_FREE);
}

/* ---- for code that reads a copy: where the owner's tid is kept. A rwlock does not know its readers ---- */

enum {
	LOCKS_MUTEX_OWNER_AT = 8,
	LOCKS_RWLOCK_WRITER_AT = 24,
	LOCKS_TID_LIMIT = 1 << 22, /* the kernel's; larger numbers mark robust mutexes whose owner died */
};
_Static_assert(offsetof(pthread_mutex_t, __data.__owner) == LOCKS_MUTEX_OWNER_AT, "");
_Static_assert(offsetof(pthread_rwlock_t, __data.__cur_writer) == LOCKS_RWLOCK_WRITER_AT, "");

#endif
