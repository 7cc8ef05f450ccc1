/* here.h - the stack of the calling thread, once for all profiles.
 *
 * Runs in: app's thread inside a hook, between self_hold (or sampling_enter) and its end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HERE_H
#define PPROFSHIM_HERE_H

#include "shim/stack/stacks.h"
#include "shim/stack/unwind.h"

/* Frames kept of a stack. Init. */
void stack_here_start(size_t depth);

/* The stack from `from` outwards, interned; with `function` as its leaf where that is not 0: the function that a hook
 * calls. NULL at the memory cap. */
struct stack *stack_here(uintptr_t function, struct unwind_frame from);

#endif
