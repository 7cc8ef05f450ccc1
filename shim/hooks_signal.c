/* hooks_signal.c - sigaction and signal: the program's handlers are counted as they run.
 *
 * Runs in: app's thread; on_counted: in place of the program's handler, which it jumps to.
 * So: no lock; errno as the real function left it.
 *
 * Why: when a call failed with EINTR and our signal was there, it has to be known whether a handler of the program ran,
 * too, before or after ours; nothing else tells (waits.h). The kernel calls on_counted, with the flags and the mask that the
 * program asked for; it adds one to a number of the thread's and jumps on, so no frame is added. The program
 * sees its own handlers: where it asks for the old one it gets that.
 *
 * Left alone: signals of faults, which interrupt no call and whose handlers are the business of runtimes; and whatever
 * installs handlers by bare system calls: those are not counted, and waits.c sees to them as well as it can.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>

#include "shim/exports.h"
#include "shim/init.h"
#include "shim/real.h"
#include "shim/sampler.h"
#include "shim/signals.h"

enum { SIGNALS = 65 };

typedef void (*full_handler)(int, siginfo_t *, void *);

/* What the program wants called; atomic. Written before the kernel knows. */
static full_handler wanted[SIGNALS];
static uint64_t counted; /* atomic; bits by signal number - 1 */

static void on_counted(int sig, siginfo_t *info, void *context)
{
	sampler_thread.handled++;
	__atomic_load_n(&wanted[sig], __ATOMIC_RELAXED)(sig, info, context);
}

uint64_t signals_counted(void)
{
	return __atomic_load_n(&counted, __ATOMIC_RELAXED);
}

/* SIG_DFL, SIG_IGN and SIG_ERR are small numbers. */
static bool is_function(full_handler handler)
{
	return (uintptr_t)handler > (uintptr_t)SIG_IGN && (uintptr_t)handler != (uintptr_t)SIG_ERR;
}

static bool is_to_be_counted(int sig, full_handler handler)
{
	const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) |
	                        1ull << (SIGILL - 1) | 1ull << (SIGTRAP - 1) | 1ull << (SIGABRT - 1) |
	                        1ull << (SIGSYS - 1);
	return sig > 0 && sig < SIGNALS && !(faults >> (sig - 1) & 1) && init_is_on() &&
	       is_function(handler) && handler != on_counted;
}

/* The handler to give to the kernel. *before: what the program wanted until now. */
static full_handler count(int sig, full_handler handler, full_handler *before)
{
	*before = sig > 0 && sig < SIGNALS ? __atomic_load_n(&wanted[sig], __ATOMIC_RELAXED) : NULL;
	if (!is_to_be_counted(sig, handler))
		return handler;
	__atomic_store_n(&wanted[sig], handler, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&counted, 1ull << (sig - 1), __ATOMIC_SEQ_CST);
	return on_counted;
}

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

/* act and old may be one. */
static int set_action(sigaction_function real, int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours;
	full_handler before;
	if (act) {
		ours = *act;
		ours.sa_sigaction = count(sig, act->sa_sigaction, &before);
		act = &ours;
	} else {
		before = sig > 0 && sig < SIGNALS ? __atomic_load_n(&wanted[sig], __ATOMIC_RELAXED) : NULL;
	}
	int r = real(sig, act, old);
	if (r == 0 && old && old->sa_sigaction == on_counted)
		old->sa_sigaction = before;
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

/* The family of signal(2): they return the handler that was. */
static hook_handler set_handler(hook_handler (*real)(int, hook_handler), int sig, hook_handler handler)
{
	full_handler before;
	hook_handler ours = (hook_handler)(uintptr_t)count(sig, (full_handler)(uintptr_t)handler, &before);
	hook_handler old = real(sig, ours);
	return old == (hook_handler)(uintptr_t)on_counted ? (hook_handler)(uintptr_t)before : old;
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
