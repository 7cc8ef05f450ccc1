/* exec.h - exec, by whatever function.
 *
 * Runs in: app's thread inside a hook of exec.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOOKS_EXEC_H
#define PPROFSHIM_HOOKS_EXEC_H

#include <stdbool.h>

/* Another program is about to take over: ends what of ours would outlive this one. errno is preserved.
 * Returns what has to be started again if exec fails. */
struct exec_scope {
	bool interval; /* the interval timer ran */
	bool listener; /* there was one */
};
struct exec_scope exec_begins(void);
void exec_failed(struct exec_scope scope);

#endif
