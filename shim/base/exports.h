/* exports.h - which symbols programs bind to, and which are ours alone.
 *
 * Runs in: init. The list of what is exported is shim/hooks.def; in which versions, shim/libc/versions.def.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EXPORTS_H
#define PPROFSHIM_EXPORTS_H

#include "shim/arch/arch.h"

#define EXPORT __attribute__((visibility("default")))

/* On the declaration of a variable that a hook's first instructions read: it is reached directly, without a load
 * from the GOT. (-fvisibility=hidden says that of definitions only.) */
#define HIDDEN __attribute__((visibility("hidden")))

/* A hook that is more than a test and a jump aligns the stack for itself: the whole hook, or its slow half. */
#define ALIGNED ARCH_ALIGNED
#define SLOW __attribute__((noinline)) ALIGNED

/* Take out of our table what the program would not have without us. Before this, init has called real_start. */
void exports_fit(void);

/* Take everything out, where we only stand in the way. What the program was started with is bound to us already. */
void exports_withdraw(void);

#endif
