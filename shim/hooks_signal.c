/* hooks_signal.c - sigaction and signal: the program's handlers are counted as they run.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, in our memory; the trampolines: in place of the
 * program's handlers, which they jump to.
 * So: no lock; errno as the real function left it.
 *
 * Why: when a call failed with EINTR and our signal was there, it has to be known whether a handler of the program ran,
 * too, before or after ours; nothing else tells (waits.h). The kernel calls a trampoline, with the flags and the mask that
 * the program asked for; it adds one to a number of the thread's and jumps on, so no frame is added. The
 * program sees its own handlers: where it asks for the old one it gets that.
 *
 * A trampoline is given to one handler, once and for all, whatever the signals: so the kernel's own table stays the only
 * truth, for those who change it by bare system calls, in children of vfork, or from two threads at once.
 *
 * Left alone: signals of faults, which interrupt no call and whose handlers are the business of runtimes; and handlers
 * beyond the last trampoline. These are not counted, and waits.c sees to them as well as it can.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <signal.h>

#include "shim/exports.h"
#include "shim/init.h"
#include "shim/real.h"
#include "shim/sampler.h"
#include "shim/signals.h"

typedef void (*full_handler)(int, siginfo_t *, void *);

enum { TRAMPOLINES = 256, TRAMPOLINE_BYTES = 32 };

/* What each jumps to; atomic: NULL, then one handler for good. */
extern HIDDEN full_handler signal_handlers[TRAMPOLINES];
full_handler signal_handlers[TRAMPOLINES];

#if defined(__x86_64__)
static_assert(offsetof(struct sampler_thread, handled) == 40, "as the trampolines have it");
__asm__(".text\n"
        ".p2align 5\n"
        ".globl signal_trampolines\n"
        ".hidden signal_trampolines\n"
        ".type signal_trampolines, @function\n"
        "signal_trampolines:\n"
        ".cfi_startproc\n"
        ".set signal_number, 0\n"
        ".rept 256\n"
        ".p2align 5\n"
        "\tendbr64\n"
        "\tmov sampler_thread@gottpoff(%rip), %rax\n"
        "\tincl %fs:40(%rax)\n"
        "\tjmp *signal_handlers + 8 * signal_number(%rip)\n"
        ".set signal_number, signal_number + 1\n"
        ".endr\n"
        ".p2align 5\n"
        ".cfi_endproc\n"
        ".size signal_trampolines, . - signal_trampolines\n");
extern HIDDEN const char signal_trampolines[TRAMPOLINES * TRAMPOLINE_BYTES];
#else
static const char signal_trampolines[1]; /* none: nothing is counted */
#endif

/* The trampoline of this handler; the handler itself, when there is none left. */
static uintptr_t trampoline_of(full_handler handler)
{
	for (size_t i = 0; sizeof signal_trampolines > 1 && i < TRAMPOLINES; i++) {
		full_handler has = __atomic_load_n(&signal_handlers[i], __ATOMIC_ACQUIRE);
		if (!has && __atomic_compare_exchange_n(&signal_handlers[i], &has, handler, false, __ATOMIC_ACQ_REL,
		                                        __ATOMIC_ACQUIRE))
			has = handler;
		if (has == handler)
			return (uintptr_t)&signal_trampolines[i * TRAMPOLINE_BYTES];
	}
	return (uintptr_t)handler;
}

bool signals_counted(uintptr_t handler)
{
	return handler - (uintptr_t)signal_trampolines < sizeof signal_trampolines;
}

/* SIG_DFL, SIG_IGN and sigset's SIG_HOLD are small numbers, SIG_ERR is -1. */
static bool is_to_be_counted(int sig, uintptr_t handler)
{
	const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) |
	                        1ull << (SIGILL - 1) | 1ull << (SIGTRAP - 1) | 1ull << (SIGABRT - 1) |
	                        1ull << (SIGSYS - 1);
	return sig > 0 && sig <= 64 && !(faults >> (sig - 1) & 1) && init_is_on() && handler >= 4096 &&
	       handler != (uintptr_t)SIG_ERR && !signals_counted(handler);
}

/* The handler to give to the kernel. SIGPROF is the program's, should we have borrowed it. */
static uintptr_t given(int sig, uintptr_t handler)
{
	if (sig == SIGPROF)
		signals_give_up_interval();
	return is_to_be_counted(sig, handler) ? trampoline_of((full_handler)handler) : handler;
}

/* The handler that the program knows. */
static uintptr_t known(uintptr_t handler)
{
	if (signals_is_interval_handler(handler))
		return (uintptr_t)SIG_DFL;
	return signals_counted(handler)
	           ? (uintptr_t)signal_handlers[(handler - (uintptr_t)signal_trampolines) / TRAMPOLINE_BYTES]
	           : handler;
}

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

/* act and old may be one. */
static SLOW int set_action(sigaction_function real, int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction ours;
	if (act) {
		ours = *act;
		ours.sa_sigaction = (full_handler)given(sig, (uintptr_t)act->sa_sigaction);
		act = &ours;
	}
	int r = real(sig, act, old);
	if (r == 0 && old)
		old->sa_sigaction = (full_handler)known((uintptr_t)old->sa_sigaction);
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
static SLOW hook_handler set_handler(hook_handler (*real)(int, hook_handler), int sig, hook_handler handler)
{
	return (hook_handler)known((uintptr_t)real(sig, (hook_handler)given(sig, (uintptr_t)handler)));
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
