/* stacks.h - every distinct call stack once, for all profiles.
 *
 * Runs in: app's thread inside a hook. Stacks are immutable and never freed; the listener reads them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_STACKS_H
#define PPROFSHIM_STACKS_H

#include "shim/base/exports.h"
#include "shim/base/stack.h"

/* Returns the one stack with these look-up addresses, leaf first, in the present place (modules_place_of). Never NULL:
 * at the memory cap, stacks_others stands for a stack that is not in the table yet, and this is counted. depth: at most
 * 65535. */
struct stack *stacks_intern(const uintptr_t *pc, size_t depth);

/* The same in another place. */
struct stack *stacks_intern_at(const uintptr_t *pc, size_t depth, uint64_t place);

/* Stands for all stacks that have no room: one frame, in a function that is named other_stacks. */
extern HIDDEN struct stack stacks_others;

#endif
