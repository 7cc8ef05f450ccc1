/* confined.h - has the program shut itself in: a seccomp filter, strict mode?
 *
 * Runs in: app's thread inside a hook, in a signal handler too.
 *
 * The library cannot know what a filter will allow. So from just before the filter holds, it makes no system call that
 * the program did not ask for: the listener is gone, and hooks do without answers from the kernel.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CONFINED_H
#define PPROFSHIM_CONFINED_H

#include <stdbool.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"

extern HIDDEN shared_bool os_confined; /* children inherit it, as they do the filter */

/* Returns true if a system call of ours might kill the program. */
static inline bool confined(void)
{
	return __builtin_expect(shared_load_relaxed(&os_confined), 0);
}

/* seccomp(2) as a program makes it by syscall(). Returns what that returns. */
long confined_by_number(long nr, const long args[5]);

/* The same for prctl(2), if it asks for a filter or strict mode; the result goes to *result.
 * Returns false if it made no call: then the caller has to make it. */
bool confined_prctl_by_number(const long args[5], long *result);

void confine_fork_child(void);

#endif
