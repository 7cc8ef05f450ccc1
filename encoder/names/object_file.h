/* object_file.h - the file that an object was loaded from.
 *
 * Runs in: listener. Answers are in the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OBJECT_FILE_H
#define PPROFSHIM_OBJECT_FILE_H

#include <stdbool.h>

#include "encoder/names/names.h"

/* Returns a path at which any process can open the file of a module. The program's own file can be opened even when it
 * was deleted. NULL: there is no such path. */
const char *object_file_find(const struct names *n, const struct module *m);

/* Returns what the kernel says of the program's file; empty: nothing. */
struct span object_file_executable(struct region *r);

/* Is the path that was given to execve one of the program's file? (It may be a script's, or relative.) */
bool object_file_is_programs(const char *path);

#endif
