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

#endif
