/* wanted.h - is this one of the programs that are to be served?
 *
 * Runs in: init, before anything of the library has started.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_WANTED_H
#define PPROFSHIM_WANTED_H

#include <stdbool.h>

/* Look at PPROF_ONLY and PPROF_FOLLOW. execfn: the path that was given to execve (AT_EXECFN), for a script the
 * script's. arg0: the program's first argument; NULL: it has none.
 * Returns whether the library is to record, listen and count here. */
bool wanted_program(const char *execfn, const char *arg0);

#endif
