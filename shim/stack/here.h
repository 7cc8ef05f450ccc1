/* here.h - the stack of the calling thread, once for all profiles.
 *
 * Runs in: app's thread inside a hook, between self_hold (or sampling_enter) and its end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HERE_H
#define PPROFSHIM_HERE_H

#include "shim/stack/stacks.h"
#include "shim/stack/unwind.h"

/* Init: keep at most `depth` frames of a stack. */
void stack_here_start(size_t depth);

/* Returns the stack from `from` outwards, interned. Its leaf is `function`, the function that a hook calls, unless that
 * is 0. Never NULL: at the memory cap, one frame, or stacks_others. */
struct stack *stack_here(uintptr_t function, struct unwind_frame from);

/* The same where `via`, which the caller at `from` called, has jumped on to the function. 0: none did. */
struct stack *stack_here_via(uintptr_t function, uintptr_t via, struct unwind_frame from);

#endif
