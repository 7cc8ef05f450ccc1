/* proc.h - is there a /proc?
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROC_H
#define PPROFSHIM_PROC_H

#include <stdbool.h>

#include "shim/base/os.h"

/* In a chroot there may be none. A listener that was born outside still has the one there. */
static inline bool proc_is_there(void)
{
	return os_call(SYS_faccessat, AT_FDCWD, "/proc/self/stat", 0) == 0;
}

#define PROC_IS_MISSING "there is no /proc here (in a chroot without it)"

#endif
