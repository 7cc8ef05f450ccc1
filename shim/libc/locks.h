/* locks.h - what libc's locks say of themselves, behind one door.
 *
 * Runs in: app's thread inside a hook; LOCKS_..._AT: listener.
 * So: functions read words of the program's lock, which may change at the same moment. A wrong guess costs at most a
 * wait that is not seen, or an owner that is not named.
 *
 * Another libc needs one more file like locks_glibc.h, with the same function names.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOCKS_H
#define PPROFSHIM_LOCKS_H

#include "shim/libc/locks_glibc.h"

#endif
