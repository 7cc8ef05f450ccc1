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

/* For a hook that does more than a test and a jump: the hook, or its slow half, aligns the stack for itself. */
#define ALIGNED ARCH_ALIGNED
#define SLOW __attribute__((noinline)) ALIGNED

/* Remove from our symbol table what the program would not have without us. Init calls real_start before this. */
void exports_fit(void);

/* Remove all symbols, where the library would only be in the way. Objects that the program was started with are already
 * bound to ours. */
void exports_withdraw(void);

#endif
