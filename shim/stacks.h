/* stacks.h - every distinct call stack once, for all profiles.
 *
 * Runs in: app's thread inside a hook. Stacks are immutable and never freed; the listener reads them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_STACKS_H
#define PPROFSHIM_STACKS_H

#include "shim/snapshot.h"

/* The one stack with these look-up addresses, leaf first, in the present place (modules_place), or NULL at the
 * memory cap. depth: at most 65535. */
struct stack *stacks_intern(const uintptr_t *pc, size_t depth);

/* The same in another place. */
struct stack *stacks_intern_at(const uintptr_t *pc, size_t depth, unsigned place);

void stacks_fork_prepare(void);
void stacks_fork_release(void);

#endif
