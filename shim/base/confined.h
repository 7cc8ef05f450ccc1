/* confined.h - has the program shut itself in: a seccomp filter, strict mode?
 *
 * Runs in: app's thread inside a hook, in a signal handler too.
 *
 * What a filter that is still to come allows is not known, so from before it holds the library makes no system call
 * that the program did not ask for: the listener is gone, and hooks do without what they would have to ask the kernel
 * for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CONFINED_H
#define PPROFSHIM_CONFINED_H

#include <stdbool.h>

#include "shim/base/exports.h"

extern HIDDEN bool os_confined; /* atomic; children inherit it, as they do the filter */

/* A system call of ours might be the program's end. */
static inline bool confined(void)
{
	return __builtin_expect(__atomic_load_n(&os_confined, __ATOMIC_RELAXED), 0);
}

/* seccomp(2) as a program makes it by syscall(). Returns what that returns. */
long confined_by_number(long nr, const long args[5]);

/* The same of prctl(2): false if it is neither a filter nor strict mode, nor anything else of ours, and still to be
 * made. */
bool confined_prctl_by_number(const long args[5], long *result);

#endif
