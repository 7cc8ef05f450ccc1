/* hooks_wait.h - what the hooks of blocking calls share.
 *
 * Runs in: app's thread, in a signal handler too. Header alone, for hooks_wait.c, hooks_sleep.c and hooks_transfer.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOOKS_WAIT_H
#define PPROFSHIM_HOOKS_WAIT_H

#include "shim/listener.h"
#include "shim/os.h"
#include "shim/waits.h"

/* A wait this long is one of a process that stays. */
#define HOOK_LONG_NS 50000000

/* NULL: no time-out. What can't be read is the real function's to refuse. */
static inline bool hook_is_long(const struct timespec *t)
{
	return !t || (os_readable(t) && (t->tv_sec > 0 || t->tv_nsec >= HOOK_LONG_NS));
}

/* The beginning of a hook: start a listener that is pending, publish the wait in `scope`. */
#define HOOK_ENTER(call, object, is_long, since_ns) \
	struct wait_scope scope; \
	if (__builtin_expect(listener_pending, 0) && (is_long)) \
		listener_start_pending(); \
	waits_enter(&scope, WAIT_##call, (uintptr_t)(object), UNWIND_CALLER(), since_ns)

/* What is left of a relative time-out, in *left. The kernel has read it, so it can be read. */
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

/* The same in milliseconds, rounded up; negative: for ever. */
static inline int hook_left_ms(int whole)
{
	return whole < 0 ? whole : (int)((waits_left_ns((uint64_t)whole * 1000000) + 999999) / 1000000);
}

#endif
