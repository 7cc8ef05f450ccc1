/* locks.h - what libc's locks say of themselves, behind one door.
 *
 * Runs in: app's thread inside a hook; LOCKS_..._AT: listener.
 * So: a look at words of the program's lock, which may change in the same moment. Wrong guesses cost a wait that is not
 * seen, or an owner that is not named, no more.
 *
 * Another libc is one more file like locks_glibc.h: each function of it under the same name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOCKS_H
#define PPROFSHIM_LOCKS_H

#include "shim/libc/locks_glibc.h"

#endif
