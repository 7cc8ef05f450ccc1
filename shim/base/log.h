/* log.h - the few lines that users may read: one a message, on stderr or in the file of PPROF_LOG.
 *
 * Runs in: init; the listener, in its handler too. Not in a hook.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOG_H
#define PPROFSHIM_LOG_H

#include <stdbool.h>

/* words: the value of PPROF_LOG, "info", "access" and a path, joined by commas. file: of PPROF_LOG_FILE; NULL: none.
 * our_path: the path of this library, to tell whether the parent runs under it too. */
void log_start(const char *words, const char *file, const char *our_path);

/* Write a warning: what is wrong, what was done instead, what the user can do. Only the first process of a tree
 * writes. */
void log_warn(const char *line);

/* Write a line, if PPROF_LOG asks for such lines. */
void log_info(const char *line);
void log_access(const char *line);

/* Returns whether log_access writes anything. */
bool log_wants_access(void);

/* Does the parent process run under the library too? Looked up once. PARENT_HIDDEN: the parent is another user's, so
 * this cannot be known. */
enum log_parent { PARENT_UNKNOWN, PARENT_OURS, PARENT_NOT_OURS, PARENT_HIDDEN };
enum log_parent log_parent(void);

/* In a fork child: its parent runs under the library, so it writes no warnings. */
void log_fork_child(void);

#endif
