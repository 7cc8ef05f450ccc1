/* proc.h - what is read of /proc, and whether there is one.
 *
 * Runs in: listener; init and app's threads (paths, proc_read). System calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROC_H
#define PPROFSHIM_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/os.h"
#include "shim/base/text.h"

/* In a chroot there may be none. A listener that was born outside still has the one there. */
static inline bool proc_is_there(void)
{
	return os_call(SYS_faccessat, AT_FDCWD, "/proc/self/stat", 0) == 0;
}

#define PROC_IS_MISSING "there is no /proc here (in a chroot without it)"

/* Begins a path with the program's folder in /proc, which is not that of the listener. rest: what follows, with its
 * slash. */
void proc_put_program(struct line *l, const char *rest);

/* Reads a file of a process. name: with its slash.
 * Returns its length, or a negative errno (-ENOENT, -ESRCH: the process has ended). */
long proc_read(uint64_t pid, const char *name, char *buf, size_t room);

#endif
