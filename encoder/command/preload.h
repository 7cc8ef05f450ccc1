/* preload.h - can a program be started with the library preloaded?
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PRELOAD_H
#define PPROFSHIM_PRELOAD_H

#include <stddef.h>

/* Write where the library is to `path`: beside this program, in the folder lib beside its own, or in LIBDIR.
 * Returns NULL, or why it cannot be preloaded. */
const char *preload_find_library(char *path, size_t room);

/* Find a program as execvp(3) does. Returns 0, and its path; ENOENT, or why it cannot be started. */
int preload_find_program(const char *name, char *path, size_t room);

/* Look at a program's file, or, of a script, at its interpreter's.
 * Returns NULL, or why the loader would not heed LD_PRELOAD with that library. */
const char *preload_refusal(const char *path, const char *library);

#endif
