/* helper_program.h - the file of the helper program: where it is, whether it may be run, and with how much memory.
 *
 * Runs in: listener. Static state of its own; one owner, no lock. symbolizer.h has what others ask of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HELPER_PROGRAM_H
#define PPROFSHIM_HELPER_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "encoder/encoder.h"

enum { HELPER_MEMORY_LEAST = 8 << 20 }; /* with less, a helper finds nothing */

/* Begin with these options. Where the helper is must be found anew. */
void helper_program_start(const struct encoder_options *options);

/* Has the helper been found (symbolizer_locate)? */
bool helper_program_is_known(void);

/* Returns its path; empty: it has not been found. */
char *helper_program_path(void);

/* Returns the folders in which it looks for debug files; NULL: its own choice. */
const char *helper_program_debug_dirs(void);

/* The helper runs as the program's user: it must be no program that another user could have put there.
 * Returns true if it is such a program; that is remembered as a failure. */
bool helper_program_is_refused(void);

/* Returns the memory that it may have: at most half of what the container has left, as the program needs some, too. */
uint64_t helper_program_memory_bytes(void);

#endif
