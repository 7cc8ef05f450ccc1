/* handlers.h - the program's handlers of signals are counted as they run.
 *
 * Runs in: app's thread, in a signal handler too; our signal handler (handlers_counted).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HANDLERS_H
#define PPROFSHIM_HANDLERS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef void (*handlers_full)(int, siginfo_t *, void *);

/* The handler to give to the kernel for the program's. SIGPROF is the program's, should we have borrowed it. */
uintptr_t handlers_given(int sig, uintptr_t handler);

/* The handler that the program knows, for the one that the kernel has. */
uintptr_t handlers_known(uintptr_t handler);

/* Is this handler, as the kernel has it, one that is counted? */
bool handlers_counted(uintptr_t handler);

/* The program sets or asks for the action of a signal by syscall(SYS_rt_sigaction, args).
 * Returns false if the call is still to be made; else *result is what it returned. */
bool handlers_set_by_number(const long args[], long *result);

#endif
