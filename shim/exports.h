/* exports.h - which symbols programs bind to, and which are ours alone.
 *
 * Runs in: nowhere; macros. The list of what is exported is shim/hooks.def.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_EXPORTS_H
#define PPROFSHIM_EXPORTS_H

#define EXPORT __attribute__((visibility("default")))

/* On the declaration of a variable that a hook's first instructions read: it is reached directly, without a load
 * from the GOT. (-fvisibility=hidden says that of definitions only.) */
#define HIDDEN __attribute__((visibility("hidden")))

/* Programs call with a stack that is off by 8, and get away with it, as libc's functions do not care. A hook that is more
 * than a test and a jump aligns for itself: the whole hook, or its slow half. */
#if defined(__x86_64__)
#define ALIGNED __attribute__((force_align_arg_pointer))
#else
#define ALIGNED
#endif
#define SLOW __attribute__((noinline)) ALIGNED

#endif
