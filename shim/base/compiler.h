/* compiler.h - what gcc and clang call by different names.
 *
 * Runs in: everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_COMPILER_H
#define PPROFSHIM_COMPILER_H

/* For a function that the compiler must not look into: whoever calls it may rely on the order of the call and of the
 * code around it, although the two share no data. */
#ifdef __clang__
#define APART __attribute__((noinline, optnone))
#else
#define APART __attribute__((noinline, noipa))
#endif

#endif
