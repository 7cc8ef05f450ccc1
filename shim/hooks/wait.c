/* wait.c - the calls that may block: each says in its thread's record what it waits for (waits.h), and is made
 * again when our own signal, and nothing else, cut it short.
 *
 * Runs in: app's thread, in a signal handler too. Any app lock may be held.
 * So: no lock, no allocation, no system call, errno as the real function left it. While nobody watches, calls that wait
 * for no other thread are jumped to: no frame, no record. The real function gets the program's own arguments, so
 * cancellation, EINTR by the program's signals and return values are its own. No pointer of the program is read before
 * the real function has seen it.
 *
 * A process that did not get the port (mostly a child) starts its listener here, at its first long wait; or later, if
 * it goes on making calls.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "shim/arch/entries.h"
#include "shim/base/shared.h"
#include "shim/waits/queues.h"
#include "shim/base/exports.h"
#include "shim/hooks/wait.h"
#include "shim/libc/locks.h"
#include "shim/libc/real.h"

/* A system call leaves the processor's stack of return addresses useless (the kernel's defence against attacks on its
 * prediction). So every return after a system call is mispredicted: the hook's own return would cost 7 to 20 ns, more
 * than all that the hook does. A jump is predicted in another way: these files are compiled to return by a jump
 * (Makefile: RETURNS). Measured on an AMD EPYC, read of a byte from /dev/zero: 209 ns bare, 229 with a hook that only
 * calls and returns, 212 with one that returns by a jump. */
ARCH_RETURN_THUNK

/* A mutex that is not 0 but can be locked at once: a recursive one that the thread holds already; a free one with a
 * priority ceiling. */
FOLDED bool is_had_at_once(const void *mutex)
{
	if (locks_mutex_has_ceiling(mutex))
		return locks_mutex_below_ceiling_is_free(mutex);
	return locks_mutex_is_recursive(mutex) && waits_self() &&
	       locks_mutex_owner(mutex) == shared_own(&threads_self()->tid);
}

/* Unlocking releases a mutex, except for an inner level of a recursive one, and for another thread's mutex of a kind
 * that refuses it. */
bool hook_lets_go(const void *mutex)
{
	if (!locks_mutex_knows_owner(mutex))
		return true;
	return (!threads_self() || locks_mutex_owner(mutex) == shared_own(&threads_self()->tid)) &&
	       (!locks_mutex_is_recursive(mutex) || locks_mutex_depth(mutex) <= 1);
}

/* Begins and ends a wait for a lock in the queues, so that the thread that unlocks it learns of the wait. */
static inline void enter_queue(uintptr_t lock, uint64_t since_ns)
{
	if (waits_are_watched(WAITS_FOR_MUTEX | WAITS_FOR_TRACE) && waits_self())
		queues_enter(threads_self(), lock, since_ns);
}

static inline void leave_queue(void)
{
	if (waits_self() && shared_own(&threads_self()->waits_for))
		queues_leave(threads_self());
}

static bool is_long_ms(int timeout)
{
	return timeout < 0 || timeout >= HOOK_LONG_NS / 1000000;
}

static bool is_long_left(const struct timeval *t)
{
	return !t || (hook_can_read(&t->tv_sec) && hook_can_read(&t->tv_usec) &&
	              (t->tv_sec > 0 || t->tv_usec >= HOOK_LONG_NS / 1000));
}

/* Removes our signal from a set to wait for, if the set names all numbers there are. */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
	const uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1);
	uint64_t bits = 0;
	if (hook_can_read(set))
		memcpy(&bits, set, sizeof bits);
	if (__builtin_expect(!(bits & ours), 1))
		return set;
	bits &= ~ours;
	memset(copy, 0, sizeof *copy); /* the kernel has 64 signals; the program's set may be no larger */
	memcpy(copy, &bits, sizeof bits);
	return copy;
}

static bool child_wait_is_watched(int options)
{
	listener_gives_way_to_waits(options);
	return waits_test(HOOK_WATCHED);
}

/* The pthread functions return error numbers, never EINTR (and pthread_barrier_wait -1 on success). A wait can have
 * ended with these: success, time-out (C11 has a number of its own for it), owner died, lock lost. */
static inline bool pthread_waited(long r)
{
	return r == 0 || r == thrd_timedout || r >= ETIMEDOUT;
}

/* A call in a hook's slow half. Members that a way does not use are folded away. */
struct waiting {
	enum wait_call call;
	uintptr_t object;
	struct wait_scope *scope;
	long result;                  /* from AGAIN on */
	int whole_ms;                 /* the relative time-out that the program gave */
	const struct timespec *whole; /* the same, in another unit */
	struct timespec *left;        /* room for what is left of it */
	sigset_t *without;            /* room for a set without our signal */
};

/* The questions that a hook asks the way of its row. All is inlined, and folded to the answer to one question. */
enum step {
	BLOCKS,  /* In the hook itself, with `w` NULL: may the call block, and does anybody watch? */
	IS_LONG, /* Will it be long, so that a pending listener starts? */
	IS_IDLE, /* Does nobody watch, apart from a pending listener? */
	BEGINS,  /* Publish the wait, and change arguments if need be. No answer. */
	AGAIN,   /* The call came back. Should it be made again? Then update its arguments. */
	ENDS,    /* The wait is over: tell those who want to know. No answer. */
};

/* Did it fail with EINTR only because of our signal? For calls that return -1 and set errno. */
FOLDED bool was_cut_short(const struct waiting *w)
{
	return __builtin_expect(w->result == -1, 0) && errno == EINTR && waits_was_cut_short();
}

FOLDED void begin(struct waiting *w, uint64_t since_ns)
{
	hook_enter(w->scope, w->call, w->object, since_ns);
}

/* Waits for other threads that are not taken to be long. */
FOLDED bool way_JOIN_UNTIL(enum step step, struct waiting *w)
{
	switch (step) {
	case BLOCKS: return true;
	case BEGINS: begin(w, hook_sync_since()); return true;
	case ENDS:
		if (hook_leave_threads(w->scope) && pthread_waited(w->result))
			hook_over(w->call | HOOK_OF_THREADS, w->object, w->scope->since_ns, __builtin_frame_address(0));
		return true;
	default: return false;
	}
}

FOLDED bool way_JOIN(enum step step, struct waiting *w)
{
	return step == IS_LONG || way_JOIN_UNTIL(step, w);
}

/* Waiting for a condition unlocks the mutex. */
FOLDED bool way_COND(enum step step, struct waiting *w, const void *mutex)
{
	bool answer = way_JOIN_UNTIL(step, w);
	if (step == BEGINS && !locks_mutex_is_not_waited_for(mutex) && hook_lets_go(mutex))
		delays_caused((uintptr_t)mutex, waits_function(w->call),
		              delays_lets_go((uintptr_t)mutex, waits_function(w->call), UNWIND_CALLER()),
		              UNWIND_CALLER());
	return answer;
}

/* The last thread to come does not wait, and wakes the others. */
FOLDED bool way_BARRIER(enum step step, struct waiting *w)
{
	bool answer = way_JOIN_UNTIL(step, w);
	if (step == BEGINS && trace_is_on())
		trace_wakes(w->object, waits_function(w->call), UNWIND_CALLER());
	return answer;
}

/* Signal handlers may wait for a semaphore. */
FOLDED bool way_SEM(enum step step, struct waiting *w, const sem_t *sem)
{
	switch (step) {
	case BLOCKS: return locks_sem_is_empty(sem);
	case AGAIN: return was_cut_short(w);
	case ENDS:
		if (hook_leave_threads(w->scope) && (w->result == 0 || errno == ETIMEDOUT || errno == EINTR))
			hook_over(w->call | HOOK_OF_THREADS | HOOK_OF_HANDLERS, w->object, w->scope->since_ns,
			          __builtin_frame_address(0));
		return true;
	default: return way_JOIN_UNTIL(step, w);
	}
}

FOLDED bool way_SPIN(enum step step, struct waiting *w, pthread_spinlock_t *lock)
{
	return step == BLOCKS ? !locks_spin_is_free((const void *)(uintptr_t)lock) : way_JOIN_UNTIL(step, w);
}

/* Locks: the thread that unlocks one must learn which threads wait for it. */
FOLDED bool way_lock(enum step step, struct waiting *w)
{
	switch (step) {
	case BEGINS:
		begin(w, hook_is_watched() ? clock_ns(CLOCK_MONOTONIC) : clock_ns(CLOCK_MONOTONIC_COARSE));
		enter_queue(w->object, w->scope->since_ns);
		return true;
	case ENDS: leave_queue(); return way_JOIN_UNTIL(step, w);
	default: return way_JOIN_UNTIL(step, w);
	}
}

/* Without a mark that it is waited for, the mutex's unlock would not come here: then nothing is noted. */
FOLDED bool way_MUTEX(enum step step, struct waiting *w, const void *mutex)
{
	if (step == BLOCKS)
		return __builtin_expect(!locks_mutex_is_free(mutex), 0) && !is_had_at_once(mutex);
	bool answer = way_lock(step, w);
	if (step == ENDS && w->result == 0 && waits_are_watched(WAITS_FOR_MUTEX) &&
	    !locks_mutex_is_not_waited_for(mutex))
		delays_acquired((uintptr_t)mutex);
	return answer;
}

FOLDED bool way_READ_LOCK(enum step step, struct waiting *w, const pthread_rwlock_t *lock)
{
	return step == BLOCKS ? locks_rwlock_blocks_reader(lock) : way_lock(step, w);
}

FOLDED bool way_WRITE_LOCK(enum step step, struct waiting *w, const pthread_rwlock_t *lock)
{
	return step == BLOCKS ? locks_rwlock_blocks_writer(lock) : way_lock(step, w);
}

/* Calls that wait for no other thread: they matter only while somebody watches. */
FOLDED bool way_PLAIN(enum step step, struct waiting *w)
{
	switch (step) {
	case BLOCKS: return waits_test(HOOK_WATCHED_LISTENER);
	case IS_LONG: return false;
	case IS_IDLE: return !waits_test(HOOK_WATCHED);
	case BEGINS: begin(w, 0); return true;
	case AGAIN: return was_cut_short(w);
	case ENDS: hook_leave(w->scope, w->call, w->object); return true;
	}
	return false;
}

/* A call that waits for children of every kind must find no listener among them: listener_gives_way_to_waits. */
FOLDED bool way_CHILDREN(enum step step, struct waiting *w, int options)
{
	switch (step) {
	case BLOCKS: return (options & (__WALL | __WCLONE)) || waits_test(HOOK_WATCHED);
	case IS_IDLE: return !child_wait_is_watched(options);
	default: return way_PLAIN(step, w);
	}
}

FOLDED bool way_LONG(enum step step, struct waiting *w)
{
	switch (step) {
	case IS_LONG: return true;
	default: return way_PLAIN(step, w);
	}
}

/* Linux updates the time-out of select itself. */
FOLDED bool way_SELECT(enum step step, struct waiting *w, const struct timeval *left)
{
	return step == IS_LONG ? is_long_left(left) : way_LONG(step, w);
}

FOLDED bool way_MILLISECONDS(enum step step, struct waiting *w, int *timeout)
{
	switch (step) {
	case IS_LONG: return is_long_ms(*timeout);
	case IS_IDLE: return !waits_test(HOOK_WATCHED) || *timeout == 0;
	case BEGINS:
		w->whole_ms = *timeout;
		begin(w, w->whole_ms > 0 ? waits_start_ns() : 0);
		return true;
	case AGAIN:
		if (!was_cut_short(w))
			return false;
		*timeout = hook_left_ms(w->whole_ms);
		return true;
	default: return way_LONG(step, w);
	}
}

FOLDED bool way_RELATIVE(enum step step, struct waiting *w, const struct timespec **time)
{
	switch (step) {
	case IS_LONG: return hook_is_long(*time);
	case BEGINS:
		w->whole = *time;
		begin(w, w->whole ? waits_start_ns() : 0);
		return true;
	case AGAIN:
		if (!was_cut_short(w))
			return false;
		*time = w->whole ? hook_left(w->whole, w->left) : NULL;
		return true;
	default: return way_LONG(step, w);
	}
}

/* Did a call that waits for signals, and began before ours were in use, take ours for the program's? signal: where the
 * call stores its number; NULL: it is the result. */
FOLDED bool took_ours(const struct waiting *w, const int *signal)
{
	return signal ? w->result == 0 && *signal == SIGNALS_OURS : w->result == SIGNALS_OURS;
}

FOLDED bool way_LONG_SET(enum step step, struct waiting *w, const sigset_t **set, const int *signal)
{
	switch (step) {
	case BLOCKS:
	case IS_LONG: return true;
	case IS_IDLE: return false;
	case BEGINS:
		begin(w, 0);
		if (waits_test(HOOK_WATCHED))
			*set = without_ours(*set, w->without);
		return true;
	case AGAIN:
		if (!was_cut_short(w) && !took_ours(w, signal))
			return false;
		*set = without_ours(*set, w->without);
		return true;
	default: return way_PLAIN(step, w);
	}
}

FOLDED bool way_RELATIVE_SET(enum step step, struct waiting *w, const sigset_t **set, const struct timespec **time)
{
	switch (step) {
	case IS_LONG: return hook_is_long(*time);
	case BEGINS:
		w->whole = *time;
		begin(w, w->whole ? clock_ns(CLOCK_MONOTONIC) : 0);
		if (waits_test(HOOK_WATCHED))
			*set = without_ours(*set, w->without);
		return true;
	case AGAIN:
		if (!way_LONG_SET(step, w, set, NULL))
			return false;
		*time = w->whole ? hook_left(w->whole, w->left) : NULL;
		return true;
	default: return way_LONG_SET(step, w, set, NULL);
	}
}

/* Two functions per call, so that a call that will not block needs no frame: the hook jumps to the real function, or to
 * the one that waits. ...: what the way looks at. */
#define HOOK_WAITS(symbol, type, params, args, object_kind, object, view, way, ...) \
	static SLOW type wait_in_##symbol params \
	{ \
		struct wait_scope scope_room; \
		struct timespec time_room; \
		sigset_t set_room; \
		struct waiting waiting = {WAIT_##symbol, (uintptr_t)(object), &scope_room, .left = &time_room, \
		                          .without = &set_room}; \
		if (waits_test(WAITS_FOR_LISTENER)) \
			hook_start_listener(way_##way(IS_LONG, &waiting, ##__VA_ARGS__)); \
		if (way_##way(IS_IDLE, &waiting, ##__VA_ARGS__)) \
			return real_##symbol args; \
		way_##way(BEGINS, &waiting, ##__VA_ARGS__); \
		type r; \
		do \
			waiting.result = r = real_##symbol args; \
		while (way_##way(AGAIN, &waiting, ##__VA_ARGS__)); \
		way_##way(ENDS, &waiting, ##__VA_ARGS__); \
		return r; \
	} \
	EXPORT type symbol params \
	{ \
		return way_##way(BLOCKS, NULL, ##__VA_ARGS__) ? wait_in_##symbol args : real_##symbol args; \
	}
#include "shim/hooks.def"
