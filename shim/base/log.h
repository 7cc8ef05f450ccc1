/* log.h - the few lines that people may read: one a message, on stderr or in the file of PPROF_LOG.
 *
 * Runs in: init; the listener, in its handler too. Not in a hook.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOG_H
#define PPROFSHIM_LOG_H

/* destination: PPROF_LOG. our_path: of this library, to tell whether the parent is under it too. */
void log_start(const char *destination, const char *our_path);

/* A warning: what is wrong, what was done instead, what one can do. Only by the first process of a tree. */
void log_warn(const char *line);

/* Told when PPROF_LOG asks for it. */
void log_info(const char *line);

/* Is the parent process under the shim too? Looked up once. PARENT_HIDDEN: it is another user's, who can tell. */
enum log_parent { PARENT_UNKNOWN, PARENT_OURS, PARENT_NOT_OURS, PARENT_HIDDEN };
enum log_parent log_parent(void);

/* A forked child's parent is under the shim: it is silent. */
void log_fork_child(void);

#endif
