/* hooks_wait.c - calls that may block for long: where a process that has no listener yet starts it.
 *
 * Runs in: app's thread, in a signal handler too.
 *
 * A process that did not get the port (a child, mostly) serves only when it stays: at its first long wait, or its
 * first sampled event. All that these hooks do is look at one flag and jump on: arguments, cancellation,
 * EINTR and return values are the real function's. (What a blocked thread waits for comes with the dump of
 * all threads.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/exports.h"
#include "shim/listener.h"
#include "shim/real.h"

/* A wait this long is one of a process that stays. */
#define HOOK_LONG_NS 50000000

static bool is_long_ms(int timeout)
{
	return timeout < 0 || timeout >= HOOK_LONG_NS / 1000000;
}

static bool is_long_time(const struct timespec *t)
{
	return t && (t->tv_sec > 0 || t->tv_nsec >= HOOK_LONG_NS); /* NULL: the real function's to refuse */
}

#define HOOK_WAITS(symbol, type, params, args, is_long) \
	EXPORT type symbol params \
	{ \
		if (__builtin_expect(listener_pending, 0) && (is_long)) \
			listener_start_pending(); \
		return real_##symbol args; \
	}
#define HOOK(symbol, type, params, args)
#define HOOK_NEW(symbol, type, params, args)
#define HOOK_DELETE(symbol, type, params, args)
#define HOOK_OWN(symbol, type, params, args)
#include "shim/hooks.def"
