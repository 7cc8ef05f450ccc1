/* wait.h - what the hooks of blocking calls share.
 *
 * Runs in: app's thread, in a signal handler too. Header alone, for hooks/wait.c, hooks/sleep.c, hooks/syscall.c and
 * hooks/unlock.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOOKS_WAIT_H
#define PPROFSHIM_HOOKS_WAIT_H

#include "shim/arch/arch.h"
#include "shim/profiles/delays.h"
#include "shim/base/exports.h"
#include "shim/listener/listener.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/waits.h"

/* Calls are folded away: a question that can be answered at compile time leaves only its answer. */
#define FOLDED static inline __attribute__((always_inline))

/* A process that waits this long is not a short-lived one. */
#define HOOK_LONG_NS 50000000

/* Reasons to look at a call that waits for no other thread; and a listener to start. */
enum { HOOK_WATCHED = WAITS_FOR_SIGNALS | WAITS_FOR_TRACE, HOOK_WATCHED_LISTENER = HOOK_WATCHED | WAITS_FOR_LISTENER };

/* Returns true if unlocking this mutex really releases it. (It is locked, or the caller is mistaken.) */
bool hook_lets_go(const void *mutex);

/* os.h's question, for a thread that may be confined by another just now. */
static inline bool hook_can_read(const void *p)
{
	self_calls_begin();
	bool can = os_readable(p);
	self_calls_end();
	return can;
}

/* NULL: no time-out. A time that can't be read is left to the real function to refuse. */
static inline bool hook_is_long(const struct timespec *t)
{
	return !t || (hook_can_read(&t->tv_sec) && hook_can_read(&t->tv_nsec) &&
	              (t->tv_sec > 0 || t->tv_nsec >= HOOK_LONG_NS));
}

/* In a trace every wait needs a time of its beginning. */
static inline uint64_t hook_since(uint64_t since_ns)
{
	return trace_is_on() && !since_ns ? clock_ns(CLOCK_MONOTONIC) : since_ns;
}

/* Returns true if a profile or trace wants to know how long threads wait for each other. */
static inline bool hook_is_watched(void)
{
	return waits_are_watched(WAITS_FOR_BLOCK | WAITS_FOR_MUTEX | WAITS_FOR_TRACE);
}

/* Returns when such a wait begins; 0 if nobody wants to know. */
static inline uint64_t hook_sync_since(void)
{
	return hook_is_watched() ? clock_ns(CLOCK_MONOTONIC) : 0;
}

/* The kind of wait that is over: one of enum wait_call, and these flags. */
enum {
	HOOK_OF_THREADS = 0x100,  /* for other threads: the block profile counts it, too */
	HOOK_OF_HANDLERS = 0x200, /* a call that a handler may make, or leave by a jump */
	HOOK_AS_SYSCALL = 0x400,  /* a trace shows it as a system call, whatever hooks.def says */
};

/* Report a wait that is over to the block profile and to a trace. Out of line and with few arguments, so that hooks
 * save no registers for it. */
void hook_over(unsigned what, uintptr_t object, uint64_t since_ns, const void *frame_address);
void hook_over_at(unsigned what, uintptr_t object, uint64_t since_ns, struct unwind_frame from);

/* Begins a hook's slow half: publishes the wait in *scope. */
FOLDED void hook_enter(struct wait_scope *scope, enum wait_call call, uintptr_t object, uint64_t since_ns)
{
	waits_enter(scope, call, object, UNWIND_CALLER(), hook_since(since_ns));
}

/* Ends a wait that only a trace is interested in. */
FOLDED void hook_leave(const struct wait_scope *scope, enum wait_call call, uintptr_t object)
{
	waits_leave(scope);
	if (trace_is_on())
		hook_over(call, object, scope->since_ns, __builtin_frame_address(0));
}

/* Ends a wait for other threads.
 * Returns true if hook_over has to be told, should the call have blocked and not been refused. */
FOLDED bool hook_leave_threads(const struct wait_scope *scope)
{
	waits_leave(scope);
	return hook_is_watched() && scope->since_ns;
}

/* In a process whose listener is to start: at a call that will last, or after many. */
static inline void hook_start_listener(bool is_long)
{
	if (is_long)
		listener_start_pending();
	else
		listener_start_lasting();
}

/* A hook, and the head of its slow half, which runs while somebody watches. */
#define HOOK_WATCHES(type, symbol, params, args) \
	static SLOW type symbol##_watched params; \
	static SLOW type symbol##_seen params \
	{ \
		if (waits_test(WAITS_FOR_LISTENER)) \
			hook_start_listener(false); \
		return waits_test(HOOK_WATCHED) ? symbol##_watched args : real_##symbol args; \
	} \
	EXPORT type symbol params \
	{ \
		return waits_test(HOOK_WATCHED_LISTENER) ? symbol##_seen args : real_##symbol args; \
	} \
	static type symbol##_watched params

/* Stores in *left what is left of a relative time-out. The kernel has read `whole`, so it can be read. */
static inline const struct timespec *hook_left(const struct timespec *whole, struct timespec *left)
{
	uint64_t ns;
	if (__builtin_mul_overflow((uint64_t)whole->tv_sec, 1000000000u, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)whole->tv_nsec, &ns))
		ns = UINT64_MAX;
	ns = waits_left_ns(ns);
	*left = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
	return left;
}

/* The same in milliseconds, rounded up; negative means for ever. */
static inline int hook_left_ms(int whole)
{
	return whole < 0 ? whole : (int)((waits_left_ns((uint64_t)whole * 1000000) + 999999) / 1000000);
}

#endif
