/* quota.c - calls that need entries of the limit of pending signals, some of which our timers use (quota.h).
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, in our memory, for which nothing is done.
 * So: no lock; errno as the real function left it. While we have no timer, a hook is a test and a jump.
 *
 * Calls that fail with EAGAIN are made again without our timers. For others we make room first: a real-time signal sent
 * by kill loses its information if no entry is left, pthread_cancel cannot be called twice, and a standard signal sent
 * by sigqueue loses its value.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "shim/base/exports.h"
#include "shim/profiles/quota.h"
#include "shim/libc/real.h"

enum { FIRST_REAL_TIME = 32 };

#define AGAIN_BY_ERRNO(symbol, params, args) \
	static SLOW int again_##symbol params \
	{ \
		int saved = errno; \
		int r = real_##symbol args; \
		while (r != 0 && errno == EAGAIN && quota_give_back()) { \
			errno = saved; \
			r = real_##symbol args; \
		} \
		return r; \
	}

#define AGAIN_BY_RESULT(symbol, params, args) \
	static SLOW int again_##symbol params \
	{ \
		int r = real_##symbol args; \
		while (r == EAGAIN && quota_give_back()) \
			r = real_##symbol args; \
		return r; \
	}

#define ROOM_FIRST(symbol, params, args) \
	static SLOW int again_##symbol params \
	{ \
		quota_make_room(); \
		return real_##symbol args; \
	}

#define TAKES_ENTRY(symbol, how, when, params, args) \
	how(symbol, params, args) EXPORT int symbol params \
	{ \
		return quota_is_used() && (when) ? again_##symbol args : real_##symbol args; \
	}

TAKES_ENTRY(timer_create, AGAIN_BY_ERRNO, true, (clockid_t clock, struct sigevent *event, timer_t *timer),
            (clock, event, timer))
TAKES_ENTRY(tgkill, AGAIN_BY_ERRNO, sig >= FIRST_REAL_TIME, (pid_t pid, pid_t tid, int sig), (pid, tid, sig))
TAKES_ENTRY(raise, AGAIN_BY_ERRNO, sig >= FIRST_REAL_TIME, (int sig), (sig))
TAKES_ENTRY(pthread_kill, AGAIN_BY_RESULT, sig >= FIRST_REAL_TIME, (pthread_t thread, int sig), (thread, sig))
TAKES_ENTRY(sigqueue, ROOM_FIRST, true, (pid_t pid, int sig, union sigval value), (pid, sig, value))
TAKES_ENTRY(pthread_sigqueue, ROOM_FIRST, true, (pthread_t thread, int sig, union sigval value), (thread, sig, value))
TAKES_ENTRY(kill, ROOM_FIRST, sig >= FIRST_REAL_TIME, (pid_t pid, int sig), (pid, sig))
TAKES_ENTRY(killpg, ROOM_FIRST, sig >= FIRST_REAL_TIME, (pid_t group, int sig), (group, sig))
TAKES_ENTRY(pthread_cancel, ROOM_FIRST, true, (pthread_t thread), (thread))

/* The same by syscall(). */
void quota_before_syscall(long nr, const long args[])
{
	long sig;
	switch (nr) {
	case SYS_timer_create:
	case SYS_rt_sigqueueinfo:
	case SYS_rt_tgsigqueueinfo: sig = FIRST_REAL_TIME; break;
	case SYS_kill:
	case SYS_tkill: sig = args[1]; break;
	case SYS_tgkill: sig = args[2]; break;
	default: return;
	}
	if (quota_is_used() && sig >= FIRST_REAL_TIME)
		quota_make_room();
}
