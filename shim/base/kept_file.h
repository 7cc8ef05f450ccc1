/* kept_file.h - a file that a setting names, and that is read again when it has changed.
 *
 * Runs in: listener. System calls alone; waits for the file system only.
 *
 * A Kubernetes Secret is replaced by a link that is renamed over another. So a file is known by what stat says of the
 * path, and whoever uses it looks each time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_KEPT_FILE_H
#define PPROFSHIM_KEPT_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

/* Open the file with all the rights that the program has left, and tell in *now what it is. It never waits for a FIFO.
 * Returns a descriptor, or a negative errno. */
int kept_file_open(const char *path, struct stat *now);

/* Returns whether this is the same file with the same content. */
bool kept_file_is_same(const struct stat *a, const struct stat *b);

/* Has the program given up the right to open it? Then what was read before still holds. */
bool kept_file_is_denied(int error);

#endif
