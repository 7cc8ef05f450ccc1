/* handlers.c - the program's handlers of signals are counted as they run.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, in our memory; the trampolines: in place of the
 * program's handlers, which they jump to.
 * So: no lock; errno as the real function left it.
 *
 * Why: when a call fails with EINTR and our signal came, we must know whether a handler of the program ran, too, before
 * or after ours. Nothing else tells (waits.h). The kernel calls a trampoline with the flags and the mask that the
 * program asked for. The trampoline adds one to a counter of the thread and jumps on, so it adds no frame. The program
 * sees its own handlers: if it asks for the old one it gets that. The trampoline also notes in the thread's record
 * where the thread was. If that is right before a call that our own handler has just set back (restart.h), that call
 * now fails, as it would have without us.
 *
 * A trampoline belongs to one handler for good, whatever the signals. So the kernel's table stays the only truth, even
 * if handlers are changed by bare system calls, in children of vfork, or by two threads at once.
 *
 * Not counted: handlers of faults, which interrupt no call and which language runtimes depend on; and handlers beyond
 * the last trampoline. waits.c does its best for these.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/handlers.h"

#include <assert.h>
#include <signal.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/base/shared.h"
#include "shim/libc/libc_thread.h"
#include "shim/libc/real.h"
#include "shim/base/self.h"
#include "shim/waits/restart.h"
#include "shim/waits/signals.h"
#include "shim/threads/timers.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum { TRAMPOLINES = 256, TRAMPOLINE_BYTES = 16 };

/* The target of each trampoline: NULL, then one handler for good. */
typedef SHARED(handlers_full) handler_place;
extern HIDDEN handler_place signal_handlers[TRAMPOLINES];
handler_place signal_handlers[TRAMPOLINES];

#if ARCH_HAS_TRAMPOLINES
static_assert(offsetof(struct self, thread) == ARCH_SELF_THREAD, "as the trampolines have it, all of these");
static_assert(offsetof(struct self, handled) == ARCH_SELF_HANDLED, "");
static_assert(offsetof(struct thread, restart.handled_pc) == ARCH_RECORD_HANDLED_PC, "");
static_assert(offsetof(struct thread, restart.handled_sp) == ARCH_RECORD_HANDLED_SP, "");
static_assert(offsetof(struct thread, restart.again_pc) == ARCH_RECORD_AGAIN_PC, "");
static_assert(offsetof(struct thread, restart.handled) == ARCH_RECORD_HANDLED, "");
ARCH_TRAMPOLINES(signal_trampolines, signal_handlers, libc_thread_tells_pointer, libc_thread_met, libc_thread_meet,
                 self, restart_give_up, waits_watchers, 8)
static_assert(WAITS_FOR_SIGNALS == 8, "as the trampolines have it");
extern HIDDEN const char signal_trampolines[TRAMPOLINES * TRAMPOLINE_BYTES];
#else
static const char signal_trampolines[1]; /* none: nothing is counted */
#endif

/* Returns the trampoline of this handler; the handler itself if none is left. */
static uintptr_t trampoline_of(handlers_full handler)
{
	for (size_t i = 0; sizeof signal_trampolines > 1 && i < TRAMPOLINES; i++) {
		handlers_full has = shared_load_acquire(&signal_handlers[i]);
		if (!has && shared_cas_acq_rel(&signal_handlers[i], &has, handler))
			has = handler;
		if (has == handler)
			return (uintptr_t)&signal_trampolines[i * TRAMPOLINE_BYTES];
	}
	return (uintptr_t)handler;
}

bool handlers_counted(uintptr_t handler)
{
	return handler - (uintptr_t)signal_trampolines < sizeof signal_trampolines;
}

/* SIG_DFL, SIG_IGN and sigset's SIG_HOLD are small numbers, SIG_ERR is -1. */
static bool is_to_be_counted(int sig, uintptr_t handler)
{
	const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) |
	                        1ull << (SIGILL - 1) | 1ull << (SIGTRAP - 1) | 1ull << (SIGABRT - 1) |
	                        1ull << (SIGSYS - 1);
	return sig > 0 && sig <= 64 && !(faults >> (sig - 1) & 1) && house_is_on() && handler >= 4096 &&
	       handler != (uintptr_t)SIG_ERR && !handlers_counted(handler);
}

uintptr_t handlers_given(int sig, uintptr_t handler)
{
	if (sig == SIGPROF)
		signals_give_up_interval();
	return is_to_be_counted(sig, handler) ? trampoline_of((handlers_full)handler) : handler;
}

uintptr_t handlers_known(uintptr_t handler)
{
	if (signals_is_interval_handler(handler))
		return (uintptr_t)SIG_DFL;
	return handlers_counted(handler)
	               ? (uintptr_t)shared_load_relaxed(
				 &signal_handlers[(handler - (uintptr_t)signal_trampolines) / TRAMPOLINE_BYTES])
	               : handler;
}

/* With another size, or an address that cannot be read, the call fails. */
bool handlers_set_by_number(const long args[], long *result)
{
	const struct timers_action *act = (const void *)args[1];
	struct timers_action *old = (void *)args[2], ours;
	if (signals_set_by_syscall(args, result))
		return true;
	if (confined() || args[3] != sizeof ours.mask || (act && !(os_readable(act) && os_readable(&act->mask))))
		return false;
	if (act) {
		ours = *act;
		ours.handler = (handlers_full)handlers_given((int)args[0], (uintptr_t)ours.handler);
		act = &ours;
	}
	*result = real_syscall(SYS_rt_sigaction, args[0], (long)act, (long)old, args[3], 0, 0);
	if (*result == 0 && old)
		old->handler = (handlers_full)handlers_known((uintptr_t)old->handler);
	return true;
}
