/* signal.c - sigaction, signal and their like: the program's handlers are counted as they run (handlers.c).
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, in our memory.
 * So: no lock; errno as the real function left it; *act is not read where the real function refuses the signal before
 * it looks there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "shim/base/exports.h"
#include "shim/libc/real.h"
#include "shim/waits/handlers.h"

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

/* Does libc take this signal? 32 and 33 it keeps for itself. */
static bool is_taken(int sig)
{
	return sig > 0 && sig <= 64 && sig != 32 && sig != 33;
}

/* act and old may be the same object. */
static SLOW int set_action(sigaction_function real, int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours;
	if (act && is_taken(sig)) {
		ours = *act;
		ours.sa_sigaction = (handlers_full)handlers_given(sig, (uintptr_t)act->sa_sigaction);
		act = &ours;
	}
	int r = real(sig, act, old);
	if (r == 0 && old)
		old->sa_sigaction = (handlers_full)handlers_known((uintptr_t)old->sa_sigaction);
	return r;
}

EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return set_action(real_sigaction, sig, act, old);
}

EXPORT int __sigaction(int sig, const struct sigaction *act, struct sigaction *old);
int __sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return set_action(real___sigaction, sig, act, old);
}

/* The functions like signal(2): they return the old handler. */
static SLOW hook_handler set_handler(hook_handler (*real)(int, hook_handler), int sig, hook_handler handler)
{
	return (hook_handler)handlers_known(
		(uintptr_t)real(sig, (hook_handler)handlers_given(sig, (uintptr_t)handler)));
}

#define SETS_HANDLER(symbol) \
	EXPORT hook_handler symbol(int sig, hook_handler handler) \
	{ \
		return set_handler(real_##symbol, sig, handler); \
	}
SETS_HANDLER(signal)
SETS_HANDLER(bsd_signal)
SETS_HANDLER(ssignal)
SETS_HANDLER(sysv_signal)
SETS_HANDLER(__sysv_signal)
SETS_HANDLER(sigset)
