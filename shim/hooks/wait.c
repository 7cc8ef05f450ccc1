/* wait.c - the calls that may block: each says in its thread's record what it waits for (waits.h), and is made
 * again when our own signal, and nothing else, cut it short.
 *
 * Runs in: app's thread, in a signal handler too. Any app lock may be held.
 * So: no lock, no allocation, no system call, errno as the real function left it. While nobody watches, calls that wait
 * for no other thread are jumped to: no frame, no record. The real function is called as it was asked for, so
 * cancellation, EINTR by the program's own signals and return values are its own. Pointers of the program are not
 * looked at before the real function has seen them.
 *
 * A process that did not get the port (a child, mostly) starts its listener here, at its first long wait.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "shim/arch/entries.h"
#include "shim/waits/queues.h"
#include "shim/base/exports.h"
#include "shim/hooks/wait.h"
#include "shim/libc/locks.h"
#include "shim/libc/real.h"

/* The kernel leaves the processor's stack of return addresses useless (a defence against attacks on its prediction), so
 * every return that follows a system call is mispredicted: the hook's own return would cost 7 to 20 ns, more than all
 * that it does. A jump is predicted in another way: these files are compiled to return by this one (Makefile: RETURNS).
 * Measured on an AMD EPYC: read of a byte from /dev/zero 209 ns, by a hook that only calls and returns 229, by one that
 * returns so 212. */
ARCH_RETURN_THUNK

/* A mutex that is not free, and is had at once all the same: a recursive one that the thread holds already; a free one
 * with a priority ceiling. */
static inline bool is_had_at_once(const void *mutex)
{
	if (locks_mutex_has_ceiling(mutex))
		return locks_mutex_below_ceiling_is_free(mutex);
	return locks_mutex_is_recursive(mutex) && waits_self() && locks_mutex_owner(mutex) == threads_self()->tid;
}

/* Letting a mutex go does so, save the inner halves of a recursive one, and what is another's of a kind that refuses
 * it. */
bool hook_lets_go(const void *mutex)
{
	if (!locks_mutex_knows_owner(mutex))
		return true;
	return (!threads_self() || locks_mutex_owner(mutex) == threads_self()->tid) &&
	       (!locks_mutex_is_recursive(mutex) || locks_mutex_depth(mutex) <= 1);
}

/* A lock is about to be waited for, or was: whoever lets it go is to know. */
static inline void enter_queue(uintptr_t lock, uint64_t since_ns)
{
	if (waits_are_watched(WAITS_FOR_MUTEX | WAITS_FOR_TRACE) && waits_self())
		queues_enter(threads_self(), lock, since_ns);
}

static inline void leave_queue(void)
{
	if (waits_self() && threads_self()->waits_for)
		queues_leave(threads_self());
}

void hook_traced(unsigned call, uintptr_t object, uint64_t since_ns, const void *frame_address)
{
	trace_waited(waits_view(call), call, object, since_ns, clock_ns(CLOCK_MONOTONIC),
	             unwind_frame_at(frame_address));
}

void hook_waited(unsigned call, uintptr_t object, uint64_t since_ns, const void *frame_address)
{
	delays_waited(call, object, since_ns, unwind_frame_at(frame_address));
}

static bool is_long_ms(int timeout)
{
	return timeout < 0 || timeout >= HOOK_LONG_NS / 1000000;
}

static bool is_long_left(const struct timeval *t)
{
	return !t || (os_readable(t) && (t->tv_sec > 0 || t->tv_usec >= HOOK_LONG_NS / 1000));
}

/* Our signal is none to wait for, should a set name all numbers there are. */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
	const uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1);
	uint64_t bits = 0;
	if (os_readable(set))
		memcpy(&bits, set, sizeof bits);
	if (__builtin_expect(!(bits & ours), 1))
		return set;
	bits &= ~ours;
	memset(copy, 0, sizeof *copy); /* the kernel has 64 signals; there may be no more of the program's set */
	memcpy(copy, &bits, sizeof bits);
	return copy;
}

static bool child_wait_is_watched(int options)
{
	listener_gives_way_to_waits(options);
	return waits_test(HOOK_WATCHED);
}

/* Such a call that began while no signal of ours was about, and took one as the program's: it is none. */
static inline bool sigwait_took(const sigset_t *set, const int *signal)
{
	(void)set;
	return *signal == SIGNALS_OURS;
}

static inline bool sigwaitinfo_took(const sigset_t *set, const siginfo_t *info)
{
	(void)set, (void)info;
	return false; /* it would be the result */
}

static inline bool sigtimedwait_took(const sigset_t *set, const siginfo_t *info, const struct timespec *time)
{
	(void)time;
	return sigwaitinfo_took(set, info);
}

/* The ways of the table. BLOCKS_x: may it block, and does anybody care; IDLE_x: does nobody, but for a listener that is
 * to be started; LONG_x: will it be long, so that it starts that; SINCE_x: when it began, where that has to be known;
 * FIRST_x: before the call; FAILED_x: did it fail with EINTR; TOOK_x: did it take our signal; AGAIN_x: before it is
 * made again; LEAVE_x: after it. Names are those of the table's parameters. */
#define IN_ERRNO (__builtin_expect(r == -1, 0) && errno == EINTR)

/* The pthread family returns error numbers, EINTR never (and pthread_barrier_wait -1, when all is well). Of these, a
 * wait can have ended with: done, time-out (C11 has a number of its own for it), the owner died, the lock is lost. */
static inline bool pthread_waited(int r)
{
	return r == 0 || r == thrd_timedout || r >= ETIMEDOUT;
}

#define BLOCKS_JOIN true
#define IDLE_JOIN false
#define LONG_JOIN true
#define SINCE_JOIN hook_sync_since()
#define FIRST_JOIN(call)
#define TOOK_JOIN(symbol, args) false
#define FAILED_JOIN false
#define AGAIN_JOIN
#define LEAVE_JOIN(call, object) HOOK_LEAVE_SYNC(call, object, pthread_waited(r))

#define BLOCKS_JOIN_UNTIL true
#define IDLE_JOIN_UNTIL false
#define LONG_JOIN_UNTIL false
#define SINCE_JOIN_UNTIL hook_sync_since()
#define FIRST_JOIN_UNTIL(call)
#define TOOK_JOIN_UNTIL(symbol, args) false
#define FAILED_JOIN_UNTIL false
#define AGAIN_JOIN_UNTIL
#define LEAVE_JOIN_UNTIL LEAVE_JOIN

/* Waiting for a condition lets the mutex go. */
#define BLOCKS_COND true
#define IDLE_COND false
#define LONG_COND false
#define SINCE_COND hook_sync_since()
#define FIRST_COND(call) \
	if (!hook_first_word_is(mutex, 1) && hook_lets_go(mutex)) \
		delays_caused(waits_function(WAIT_##call), \
		              delays_lets_go((uintptr_t)mutex, waits_function(WAIT_##call), UNWIND_CALLER()), \
		              UNWIND_CALLER());
#define TOOK_COND(symbol, args) false
#define FAILED_COND false
#define AGAIN_COND
#define LEAVE_COND LEAVE_JOIN

/* Whoever comes last does not wait, and is told so. */
#define BLOCKS_BARRIER true
#define IDLE_BARRIER false
#define LONG_BARRIER false
#define SINCE_BARRIER hook_sync_since()
#define FIRST_BARRIER(call) \
	if (trace_is_on()) \
		trace_wakes((uintptr_t)barrier, waits_function(WAIT_##call), UNWIND_CALLER());
#define TOOK_BARRIER(symbol, args) false
#define FAILED_BARRIER false
#define AGAIN_BARRIER
#define LEAVE_BARRIER LEAVE_JOIN

/* The first word of a semaphore is its value (glibc's internaltypes.h: struct new_sem, on 64-bit little-endian
 * machines). */
#define BLOCKS_SEM hook_first_word_is(sem, 0)
#define IDLE_SEM false
#define LONG_SEM false
#define SINCE_SEM hook_sync_since()
#define FIRST_SEM(call)
#define TOOK_SEM(symbol, args) false
#define FAILED_SEM IN_ERRNO
#define AGAIN_SEM
#define LEAVE_SEM(call, object) HOOK_LEAVE_SYNC(call, object, r == 0 || errno == ETIMEDOUT || errno == EINTR)

#define BLOCKS_SPIN (!hook_first_word_is((const void *)(uintptr_t)lock, ARCH_SPIN_FREE))
#define IDLE_SPIN false
#define LONG_SPIN false
#define SINCE_SPIN hook_sync_since()
#define FIRST_SPIN(call)
#define TOOK_SPIN(symbol, args) false
#define FAILED_SPIN false
#define AGAIN_SPIN
#define LEAVE_SPIN LEAVE_JOIN

#define BLOCKS_PLAIN waits_test(HOOK_WATCHED)
#define IDLE_PLAIN (!waits_test(HOOK_WATCHED))
#define LONG_PLAIN false
#define SINCE_PLAIN 0
#define FIRST_PLAIN(call)
#define TOOK_PLAIN(symbol, args) false
#define FAILED_PLAIN IN_ERRNO
#define AGAIN_PLAIN
#define LEAVE_PLAIN HOOK_LEAVE

/* Who waits for children of every kind finds no listener among them: listener_gives_way_to_waits. */
#define BLOCKS_CHILDREN ((options & (__WALL | __WCLONE)) || waits_test(HOOK_WATCHED))
#define IDLE_CHILDREN (!child_wait_is_watched(options))
#define LONG_CHILDREN false
#define SINCE_CHILDREN 0
#define FIRST_CHILDREN(call)
#define TOOK_CHILDREN(symbol, args) false
#define FAILED_CHILDREN IN_ERRNO
#define AGAIN_CHILDREN
#define LEAVE_CHILDREN HOOK_LEAVE

#define BLOCKS_LONG waits_test(HOOK_WATCHED_LONG)
#define IDLE_LONG (!waits_test(HOOK_WATCHED))
#define LONG_LONG true
#define SINCE_LONG 0
#define FIRST_LONG(call)
#define TOOK_LONG(symbol, args) false
#define FAILED_LONG IN_ERRNO
#define AGAIN_LONG
#define LEAVE_LONG HOOK_LEAVE

/* The first word of a mutex is 0 while it is free, of every kind; that of a rwlock has flags for the writer in its low
 * bits (1: writers' turn, 2: locked for writing, 4: readers wait) and counts readers above (glibc's
 * <bits/struct_mutex.h> and <bits/struct_rwlock.h>). Guessed wrong, the wait is not seen, no more. */
#define WORD_OF(lock) __atomic_load_n((const unsigned *)(const void *)(lock), __ATOMIC_RELAXED)
#define BLOCKS_MUTEX (__builtin_expect(!hook_first_word_is(mutex, 0), 0) && !is_had_at_once(mutex))
#define IDLE_MUTEX false
#define LONG_MUTEX false
#define SINCE_MUTEX (hook_is_watched() ? clock_ns(CLOCK_MONOTONIC) : clock_ns(CLOCK_MONOTONIC_COARSE))
#define FIRST_MUTEX(call) enter_queue((uintptr_t)mutex, scope.since_ns);
#define TOOK_MUTEX(symbol, args) false
#define FAILED_MUTEX false
#define AGAIN_MUTEX
#define LEAVE_MUTEX(call, object) \
	leave_queue(); \
	HOOK_LEAVE_SYNC(call, object, pthread_waited(r))

/* A reader waits for the writer that has its turn; where writers are preferred, for one that waits, too. */
#define BLOCKS_READ_LOCK \
	(__builtin_expect(hook_has_bit(lock, 2), 0) && ((WORD_OF(lock) & 3) == 3 || lock->__data.__flags != 0))
#define IDLE_READ_LOCK false
#define LONG_READ_LOCK false
#define SINCE_READ_LOCK SINCE_MUTEX
#define FIRST_READ_LOCK(call) enter_queue((uintptr_t)lock, scope.since_ns);
#define TOOK_READ_LOCK(symbol, args) false
#define FAILED_READ_LOCK false
#define AGAIN_READ_LOCK
#define LEAVE_READ_LOCK LEAVE_MUTEX

#define BLOCKS_WRITE_LOCK ((WORD_OF(lock) & ~5u) != 0)
#define IDLE_WRITE_LOCK false
#define LONG_WRITE_LOCK false
#define SINCE_WRITE_LOCK SINCE_MUTEX
#define FIRST_WRITE_LOCK(call) enter_queue((uintptr_t)lock, scope.since_ns);
#define TOOK_WRITE_LOCK(symbol, args) false
#define FAILED_WRITE_LOCK false
#define AGAIN_WRITE_LOCK
#define LEAVE_WRITE_LOCK LEAVE_MUTEX

#define BLOCKS_MILLISECONDS waits_test(HOOK_WATCHED_LONG)
#define IDLE_MILLISECONDS (!waits_test(HOOK_WATCHED) || timeout == 0)
#define LONG_MILLISECONDS is_long_ms(timeout)
#define SINCE_MILLISECONDS (timeout > 0 ? waits_start_ns() : 0)
#define FIRST_MILLISECONDS(call) const int whole = timeout;
#define TOOK_MILLISECONDS(symbol, args) false
#define FAILED_MILLISECONDS IN_ERRNO
#define AGAIN_MILLISECONDS timeout = hook_left_ms(whole);
#define LEAVE_MILLISECONDS HOOK_LEAVE

#define BLOCKS_RELATIVE waits_test(HOOK_WATCHED_LONG)
#define IDLE_RELATIVE (!waits_test(HOOK_WATCHED))
#define LONG_RELATIVE hook_is_long(time)
#define SINCE_RELATIVE (time ? waits_start_ns() : 0)
#define FIRST_RELATIVE(call) \
	struct timespec left; \
	const struct timespec *whole = time;
#define TOOK_RELATIVE(symbol, args) false
#define FAILED_RELATIVE IN_ERRNO
#define AGAIN_RELATIVE time = whole ? hook_left(whole, &left) : NULL;
#define LEAVE_RELATIVE HOOK_LEAVE

#define BLOCKS_RELATIVE_SET true
#define IDLE_RELATIVE_SET false
#define LONG_RELATIVE_SET hook_is_long(time)
#define SINCE_RELATIVE_SET (time ? clock_ns(CLOCK_MONOTONIC) : 0)
#define FIRST_RELATIVE_SET(call) FIRST_RELATIVE(call) FIRST_LONG_SET(call)
#define TOOK_RELATIVE_SET(symbol, args) (r == SIGNALS_OURS || (r == 0 && symbol##_took args))
#define FAILED_RELATIVE_SET IN_ERRNO
#define AGAIN_RELATIVE_SET AGAIN_RELATIVE AGAIN_LONG_SET
#define LEAVE_RELATIVE_SET HOOK_LEAVE

/* Linux brings the time-out of select up to date. */
#define BLOCKS_SELECT waits_test(HOOK_WATCHED_LONG)
#define IDLE_SELECT (!waits_test(HOOK_WATCHED))
#define LONG_SELECT is_long_left(left)
#define SINCE_SELECT 0
#define FIRST_SELECT(call)
#define TOOK_SELECT(symbol, args) false
#define FAILED_SELECT IN_ERRNO
#define AGAIN_SELECT
#define LEAVE_SELECT HOOK_LEAVE

#define BLOCKS_LONG_SET true
#define IDLE_LONG_SET false
#define LONG_LONG_SET true
#define SINCE_LONG_SET 0
#define FIRST_LONG_SET(call) \
	sigset_t without; \
	if (waits_test(HOOK_WATCHED)) \
		set = without_ours(set, &without);
#define TOOK_LONG_SET(symbol, args) (r == SIGNALS_OURS || (r == 0 && symbol##_took args))
#define FAILED_LONG_SET IN_ERRNO
#define AGAIN_LONG_SET set = without_ours(set, &without);
#define LEAVE_LONG_SET HOOK_LEAVE

/* Two functions a call, so that one that will not block costs no frame: the hook jumps on, to the real function or to
 * the one that waits. */
#define HOOK_WAITS(symbol, type, params, args, object_kind, object, time_kind, view) \
	static SLOW type wait_in_##symbol params \
	{ \
		HOOK_START_LISTENER(LONG_##time_kind) \
		if (IDLE_##time_kind) \
			return real_##symbol args; \
		HOOK_ENTER(symbol, object, SINCE_##time_kind); \
		FIRST_##time_kind(symbol) type r = real_##symbol args; \
		while ((FAILED_##time_kind && waits_was_cut_short()) || TOOK_##time_kind(symbol, args)) { \
			AGAIN_##time_kind r = real_##symbol args; \
		} \
		LEAVE_##time_kind(symbol, object); \
		return r; \
	} \
	EXPORT type symbol params \
	{ \
		return (BLOCKS_##time_kind) ? wait_in_##symbol args : real_##symbol args; \
	}
#define HOOK_WAITS_OWN(symbol, type, params, args, object_kind, view)
#define HOOK(symbol, type, params, args)
#define HOOK_NEW(symbol, type, params, args)
#define HOOK_DELETE(symbol, type, params, args)
#define HOOK_VARIADIC(symbol, type, params)
#define HOOK_OWN(symbol, type, params, args)
#include "shim/hooks.def"
