/* demangle.h - names for people from names for linkers: C++, Rust (legacy and v0), D.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DEMANGLE_H
#define PPROFSHIM_DEMANGLE_H

#include <stdbool.h>

/* A new string (malloc), or NULL: it is not mangled, or there was no memory. Whole: with parameters and return type, as
 * c++filt has it; else without them, template arguments kept (their loss would merge instantiations). */
char *demangle(const char *name, bool whole);

#endif
