/* fork.h - see fork.c.
 *
 * Runs in: init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FORK_H
#define PPROFSHIM_FORK_H

/* Registers our fork handlers. */
void fork_start(void);

#endif
