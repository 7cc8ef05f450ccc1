/* init.h - see init.c.
 *
 * Runs in: fork.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_INIT_H
#define PPROFSHIM_INIT_H

/* The child of a fork: it may need a listener of its own. */
void init_fork_child(void);

#endif
