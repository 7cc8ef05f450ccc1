/* unlock.c - calls that end other threads' waits: a lock let go, a condition signalled, a semaphore posted.
 *
 * Runs in: app's thread, in a signal handler too (sem_post). Any app lock may be held, the one that is let go for
 * certain. So: where nobody waits, or nobody watches, the real function is jumped to. Where somebody waits, the delay
 * is looked up while the lock is still held (a waiter that has it already is none any more), then it is let go, and
 * only then the holder's stack is taken: nobody waits for the profiler. The lock is not looked at afterwards: it may be
 * gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/queues.h"
#include "shim/profiles/delays.h"
#include "shim/base/exports.h"
#include "shim/hooks/wait.h"
#include "shim/libc/locks.h"
#include "shim/libc/real.h"
#include "shim/profiles/trace_events.h"

#define FUNCTION(symbol) real_function((void *const *)&real_##symbol, #symbol)

/* Somebody waits, maybe. goes: will the call let the lock go? */
#define LETS_GO(symbol, type, lock, goes) \
	static SLOW int symbol##_waited(type *lock) \
	{ \
		if (!(goes)) \
			return real_##symbol(lock); \
		uintptr_t function = FUNCTION(symbol); \
		uint64_t delay_ns = delays_lets_go((uintptr_t)(lock), function, UNWIND_CALLER()); \
		int r = real_##symbol(lock); \
		delays_caused(function, delay_ns, UNWIND_CALLER()); \
		return r; \
	}

LETS_GO(pthread_mutex_unlock, pthread_mutex_t, mutex, hook_lets_go(mutex))
LETS_GO(mtx_unlock, mtx_t, mutex, hook_lets_go(mutex))
LETS_GO(pthread_rwlock_unlock, pthread_rwlock_t, lock, true)

EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	return __builtin_expect(locks_mutex_is_not_waited_for(mutex), 1) ? real_pthread_mutex_unlock(mutex)
	                                                                 : pthread_mutex_unlock_waited(mutex);
}

EXPORT int mtx_unlock(mtx_t *mutex)
{
	return __builtin_expect(locks_mutex_is_not_waited_for(mutex), 1) ? real_mtx_unlock(mutex)
	                                                                 : mtx_unlock_waited(mutex);
}

/* The first of several readers to go lets nobody in: it is the last one, or the writer, that others waited for. (Two
 * that go in the same moment may both believe in the other: that delay is charged to nobody.) */
static __attribute__((noinline)) int unlock_contended(pthread_rwlock_t *lock)
{
	if (!queues_maybe((uintptr_t)lock) || locks_rwlock_has_readers(lock))
		return real_pthread_rwlock_unlock(lock);
	return pthread_rwlock_unlock_waited(lock);
}

/* Free to go: a writer has it and nobody else wants it; or no writer has it or wants it. */
EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
	if (locks_rwlock_is_written(lock)) {
		if (__builtin_expect(!locks_rwlock_writer_sleeps(lock), 1))
			return real_pthread_rwlock_unlock(lock);
	} else if (__builtin_expect(!locks_rwlock_has_writer(lock), 1)) {
		return real_pthread_rwlock_unlock(lock);
	}
	return unlock_contended(lock);
}

/* What only a trace wants to know. */
#define WAKES(symbol, type, object) \
	static SLOW int symbol##_traced(type *object) \
	{ \
		trace_wakes((uintptr_t)(object), FUNCTION(symbol), UNWIND_CALLER()); \
		return real_##symbol(object); \
	} \
	EXPORT int symbol(type *object) \
	{ \
		return waits_test(WAITS_FOR_TRACE) ? symbol##_traced(object) : real_##symbol(object); \
	}

WAKES(pthread_cond_signal, pthread_cond_t, cond)
WAKES(pthread_cond_broadcast, pthread_cond_t, cond)
WAKES(cnd_signal, cnd_t, cond)
WAKES(cnd_broadcast, cnd_t, cond)
WAKES(sem_post, sem_t, sem)
