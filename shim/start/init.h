/* init.h - see init.c.
 *
 * Runs in: fork.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_INIT_H
#define PPROFSHIM_INIT_H

/* In the child of a fork, which may need a listener of its own. */
void init_fork_child(void);

#endif
