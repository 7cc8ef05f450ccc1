/* init.h - is the shim at work in this process?
 *
 * Runs in: every hook.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_INIT_H
#define PPROFSHIM_INIT_H

#include <stdbool.h>

/* True from the end of init on; never when DISABLE_PPROF says so. */
bool init_is_on(void);

/* The child of a fork: it may need a listener of its own. */
void init_fork_child(void);

#endif
