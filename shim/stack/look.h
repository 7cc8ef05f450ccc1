/* look.h - find on the stack the registers that the kernel does not tell.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOOK_H
#define PPROFSHIM_LOOK_H

#include "shim/stack/unwind.h"

/* Find the frame pointer of a frame whose rule needs it: f->fp is UNWIND_NO_FP, and stays so if it is not found. */
void look_for_fp(struct unwind_frame *f, const struct unwind_rule *r, struct unwind_elsewhere *e);

/* Find the value of a register that functions keep for their callers, as it is in the frame at stack pointer `sp`: on
 * the way there, some frame has saved it, or e->registers has it. Returns false if it can't be told. */
bool unwind_find_kept(struct unwind_elsewhere *e, uintptr_t sp, int number, uintptr_t *value);

#endif
