/* own_file.h - open a file that a setting names, if nobody else had a hand in it.
 *
 * Runs in: init, listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OWN_FILE_H
#define PPROFSHIM_OWN_FILE_H

/* Open the regular file at this absolute path for appending. Create it, for this user alone, if it is missing. A link
 * on the way is followed only if root or this user made it and nobody else can replace it. The file must be this user's
 * and have one name. It never waits.
 * Returns a descriptor, or a negative errno. */
int own_file_append(const char *path);

/* May this absolute path be run? The file, and every folder on the way, must be root's or this user's, and neither a
 * group nor all others may write it (or, of a folder, may replace the next part of the path: not in a sticky one). A
 * link on the way is followed as above.
 * Returns 0, or a negative errno. */
int own_file_may_run(const char *path);

/* The same for a file beside one that this process runs already. A user who may write into their folder could
 * replace the neighbour as well: so only the file is looked at. It counts only if every user who may write it may write
 * its neighbour, too. */
int own_file_may_run_beside(const char *path, const char *neighbour);

#endif
