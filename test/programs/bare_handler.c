/* bare_handler.c - set a handler by syscall(SYS_rt_sigaction), and look at it by every way.
 *
 * Runs in: a test program. Truth: `wrong N`: answers that are not the kernel's (0); `runs 1`: how often the handler
 * ran; `kernel_has_own 1`: the kernel calls the handler itself (by a system call that nobody sees; 0 with the shim,
 * which counts handlers).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <signal.h>

#include "clocks.h"
#include "truth.h"

struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static volatile sig_atomic_t runs;

static void on_signal(int sig)
{
	runs += sig == SIGUSR2;
}

static void unseen_look(int sig, struct action *a)
{
#if defined(__x86_64__)
	long r = SYS_rt_sigaction;
	register long size __asm__("r10") = 8;
	__asm__ volatile("syscall" : "+a"(r) : "D"((long)sig), "S"(0), "d"(a), "r"(size) : "rcx", "r11", "memory");
#else
	syscall(SYS_rt_sigaction, sig, NULL, a, 8);
#endif
}

int main(void)
{
	struct action a, b;
	struct sigaction c;
	int wrong = 0;
	signal(SIGUSR2, SIG_IGN);
	syscall(SYS_rt_sigaction, SIGUSR2, NULL, &a, 8);
	wrong += a.handler != SIG_IGN;
	a.handler = on_signal;
	a.flags &= ~(unsigned long)SA_RESTART;
	a.mask = 0x200;
	wrong += syscall(SYS_rt_sigaction, SIGUSR2, &a, &b, 8) != 0 || b.handler != SIG_IGN;
	wrong += a.handler != on_signal; /* the caller's own memory */
	wrong += syscall(SYS_rt_sigaction, SIGUSR2, NULL, &b, 8) != 0 || b.handler != on_signal || b.flags != a.flags ||
	         b.mask != 0x200;
	wrong += sigaction(SIGUSR2, NULL, &c) != 0 || c.sa_handler != on_signal;
	wrong += syscall(SYS_rt_sigaction, SIGKILL, &a, NULL, 8) != -1;
	wrong += syscall(SYS_rt_sigaction, SIGUSR2, (void *)8, NULL, 8) != -1;
	wrong += syscall(SYS_rt_sigaction, SIGUSR2, &a, NULL, 4) != -1;
	raise(SIGUSR2);
	unseen_look(SIGUSR2, &b);
	printf("wrong %d\nruns %d\nkernel_has_own %d\n", wrong, (int)runs, b.handler == on_signal);
	return 0;
}
