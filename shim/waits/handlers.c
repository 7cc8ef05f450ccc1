/* handlers.c - the program's handlers of signals are counted as they run.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, in our memory; the trampolines: in place of the
 * program's handlers, which they jump to.
 * So: no lock; errno as the real function left it.
 *
 * Why: when a call failed with EINTR and our signal was there, it has to be known whether a handler of the program ran,
 * too, before or after ours; nothing else tells (waits.h). The kernel calls a trampoline, with the flags and the mask
 * that the program asked for; it adds one to a number of the thread's and jumps on, so no frame is added. The program
 * sees its own handlers: where it asks for the old one it gets that. In the thread's record the trampoline notes where
 * the thread was: right before a call that our own handler has just set back (restart.h), that call fails now, as it
 * would have.
 *
 * A trampoline is given to one handler, once and for all, whatever the signals: so the kernel's own table stays the
 * only truth, for those who change it by bare system calls, in children of vfork, or from two threads at once.
 *
 * Left alone: signals of faults, which interrupt no call and whose handlers are the business of runtimes; and handlers
 * beyond the last trampoline. These are not counted, and waits.c sees to them as well as it can.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/handlers.h"

#include <assert.h>
#include <signal.h>

#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/libc/libc_thread.h"
#include "shim/libc/real.h"
#include "shim/base/self.h"
#include "shim/waits/restart.h"
#include "shim/waits/signals.h"
#include "shim/threads/timers.h"
#include "shim/threads/threads.h"

enum { TRAMPOLINES = 256, TRAMPOLINE_BYTES = 16 };

/* What each jumps to; atomic: NULL, then one handler for good. */
extern HIDDEN handlers_full signal_handlers[TRAMPOLINES];
handlers_full signal_handlers[TRAMPOLINES];

#if defined(__x86_64__)
static_assert(offsetof(struct self, thread) == 32, "as the trampolines have it, all of these");
static_assert(offsetof(struct self, handled) == 40, "");
static_assert(offsetof(struct thread, restart.handled_pc) == 64, "");
static_assert(offsetof(struct thread, restart.handled_sp) == 72, "");
static_assert(offsetof(struct thread, restart.again_pc) == 80, "");
static_assert(offsetof(struct thread, restart.handled) == 96, "");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RCX]) == 152, "");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]) == 160, "");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP]) == 168, "");
/* The kernel gives every handler its context in %rdx. */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl signal_trampolines\n"
        ".hidden signal_trampolines\n"
        ".type signal_trampolines, @function\n"
        "signal_trampolines:\n"
        ".cfi_startproc\n"
        ".set signal_number, 0\n"
        ".rept 256\n"
        ".p2align 4\n"
        "\tendbr64\n"
        "\tmov $signal_number, %eax\n"
        "\tjmp signal_arrived\n"
        ".set signal_number, signal_number + 1\n"
        ".endr\n"
        ".p2align 4\n"
        "signal_arrived:\n"
        "\tlea signal_handlers(%rip), %rcx\n"
        "\tmov (%rcx,%rax,8), %rax\n"
        "\ttestb $1, libc_thread_tells_pointer(%rip)\n"
        "\tje 5f\n"
        "\trdfsbase %rcx\n"
        "\ttest %rcx, %rcx\n"
        "\tje 1f\n"
        "\tmov %rcx, %r8\n"
        "\tshr $6, %r8\n"
        "\timul $0x9e3779b1, %r8d, %r8d\n"
        "\tshr $22, %r8d\n"
        "\tlea libc_thread_met(%rip), %r9\n"
        "\tcmp (%r9,%r8,8), %rcx\n"
        "\tjne 6f\n"
        "5:\tmov self@gottpoff(%rip), %rcx\n"
        "\tincl %fs:40(%rcx)\n"
        "\tmov %fs:32(%rcx), %rcx\n"
        "\ttest %rcx, %rcx\n"
        "\tje 1f\n"
        "\tincl 96(%rcx)\n"
        "\tmov 160(%rdx), %r8\n"
        "\tmov %r8, 72(%rcx)\n"
        "\tmov 168(%rdx), %r8\n"
        "\tmov %r8, 64(%rcx)\n"
        "\tcmp %r8, 152(%rdx)\n"
        "\tje 3f\n"
        "4:"
        "\tcmp %r8, 80(%rcx)\n"
        "\tje 2f\n"
        "1:\tjmp *%rax\n"
        /* right behind a system call, which leaves %rcx so, and undefined: from now on it tells that a handler has run
         */
        "3:\ttest $0xffe, %r8d\n"
        "\tje 4b\n"
        "\tcmpw $0x050f, -2(%r8)\n"
        "\tjne 4b\n"
        "\tmovq $0, 152(%rdx)\n"
        "\tjmp 4b\n"
        "6:\tpush %rbp\n" /* met for the first time, or none of libc's */
        "\t.cfi_remember_state\n"
        "\t.cfi_adjust_cfa_offset 8\n"
        "\t.cfi_offset rbp, -16\n"
        "\tmov %rsp, %rbp\n"
        "\t.cfi_def_cfa_register rbp\n"
        "\tpush %rdi\n"
        "\tpush %rsi\n"
        "\tpush %rdx\n"
        "\tpush %rax\n"
        "\tand $-16, %rsp\n"
        "\tcall libc_thread_meet\n"
        "\tmov %eax, %ecx\n"
        "\tmov -8(%rbp), %rdi\n"
        "\tmov -16(%rbp), %rsi\n"
        "\tmov -24(%rbp), %rdx\n"
        "\tmov -32(%rbp), %rax\n"
        "\tleave\n"
        "\t.cfi_restore_state\n"
        "\ttest %cl, %cl\n"
        "\tjne 5b\n"
        "\tjmp *%rax\n"
        "2:\tpush %rbp\n"
        "\t.cfi_adjust_cfa_offset 8\n"
        "\t.cfi_offset rbp, -16\n"
        "\tmov %rsp, %rbp\n"
        "\t.cfi_def_cfa_register rbp\n"
        "\tpush %rdi\n"
        "\tpush %rsi\n"
        "\tpush %rdx\n"
        "\tpush %rax\n"
        "\tand $-16, %rsp\n"
        "\tmov %rdx, %rsi\n"
        "\tcall restart_give_up\n"
        "\tmov -8(%rbp), %rdi\n"
        "\tmov -16(%rbp), %rsi\n"
        "\tmov -24(%rbp), %rdx\n"
        "\tmov -32(%rbp), %rax\n"
        "\tleave\n"
        "\t.cfi_def_cfa rsp, 8\n"
        "\t.cfi_restore rbp\n"
        "\tjmp *%rax\n"
        ".cfi_endproc\n"
        ".size signal_trampolines, . - signal_trampolines\n");
extern HIDDEN const char signal_trampolines[TRAMPOLINES * TRAMPOLINE_BYTES];
#else
static const char signal_trampolines[1]; /* none: nothing is counted */
#endif

/* The trampoline of this handler; the handler itself, when there is none left. */
static uintptr_t trampoline_of(handlers_full handler)
{
	for (size_t i = 0; sizeof signal_trampolines > 1 && i < TRAMPOLINES; i++) {
		handlers_full has = __atomic_load_n(&signal_handlers[i], __ATOMIC_ACQUIRE);
		if (!has && __atomic_compare_exchange_n(&signal_handlers[i], &has, handler, false, __ATOMIC_ACQ_REL,
		                                        __ATOMIC_ACQUIRE))
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
	               ? (uintptr_t)signal_handlers[(handler - (uintptr_t)signal_trampolines) / TRAMPOLINE_BYTES]
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
