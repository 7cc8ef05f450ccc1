/* unlock.c - calls that end other threads' waits: unlock a lock, signal a condition, post a semaphore.
 *
 * Runs in: app's thread, in a signal handler too (sem_post). Any app lock may be held; the one to unlock is. So: if no
 * thread waits, or nobody watches, we jump to the real function. If a thread waits, we look up the delay while the lock
 * is still held (a thread that has got the lock no longer counts as waiting), then unlock it, and only then take the
 * holder's stack: no thread waits for the profiler. The lock is not read afterwards: it may be gone.
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

/* A thread may be waiting. goes: does the call release the lock? */
#define LETS_GO(symbol, type, lock, goes) \
	static SLOW int symbol##_waited(type *lock) \
	{ \
		if (!(goes)) \
			return real_##symbol(lock); \
		uintptr_t function = FUNCTION(symbol); \
		uint64_t delay_ns = delays_lets_go((uintptr_t)(lock), function, UNWIND_CALLER()); \
		int r = real_##symbol(lock); \
		delays_caused((uintptr_t)(lock), function, delay_ns, UNWIND_CALLER()); \
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

/* If one of several readers leaves, nobody gets in: other threads waited for the last reader, or for the writer. (Two
 * that leave at the same moment may each take the other for the last: then nobody is charged for the delay.) */
static __attribute__((noinline)) int unlock_contended(pthread_rwlock_t *lock)
{
	if (!queues_maybe((uintptr_t)lock) || locks_rwlock_has_readers(lock))
		return real_pthread_rwlock_unlock(lock);
	return pthread_rwlock_unlock_waited(lock);
}

/* Jumps on if a writer has the lock and nobody else wants it, or if no writer has it or wants it. */
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

/* Calls that matter only to a trace. */
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
