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

/* Returns the handler to give to the kernel in place of the program's. For SIGPROF: gives it back if we have borrowed
 * it. */
uintptr_t handlers_given(int sig, uintptr_t handler);

/* Returns the handler that the program set, given the one that the kernel has. */
uintptr_t handlers_known(uintptr_t handler);

/* Returns true if this handler, as the kernel has it, is counted. */
bool handlers_counted(uintptr_t handler);

/* The program sets or asks for the action of a signal by syscall(SYS_rt_sigaction, args).
 * Returns false if the call has yet to be made; else *result is what it returned. */
bool handlers_set_by_number(const long args[], long *result);

#endif
