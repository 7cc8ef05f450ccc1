/* fork.h - see fork.c.
 *
 * Runs in: init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FORK_H
#define PPROFSHIM_FORK_H

/* Register the handlers. */
void fork_start(void);

#endif
