/* demangle.h - readable names from linkers' names: C++, Rust (legacy and v0), D, Fortran's modules.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DEMANGLE_H
#define PPROFSHIM_DEMANGLE_H

#include <stdbool.h>

/* Demangle a name. `whole`: with parameters and return type, as c++filt prints it; else without them, but with template
 * arguments (without these, different instantiations would look alike).
 * Returns a new string (malloc), or NULL: the name is not mangled, or there is no memory. */
char *demangle(const char *name, bool whole);

#endif
