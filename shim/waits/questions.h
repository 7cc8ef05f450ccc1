/* questions.h - signals that ask a running thread for its stack: how our handler knows one.
 *
 * Runs in: signal handler; listener. The functions that ask are declared in signals.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUESTIONS_H
#define PPROFSHIM_QUESTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

extern HIDDEN char question_mark; /* its address tells what a signal is for */

/* The value of a question's signal: our mark's lower half, and the slot. */
static inline void *question_of(uint32_t slot)
{
	return (void *)(((uintptr_t)&question_mark & 0xffffffffu) << 32 | slot);
}

static inline bool is_question(const void *value)
{
	return (uintptr_t)value >> 32 == ((uintptr_t)&question_mark & 0xffffffffu);
}

/* The child has none of the timers. */
void questions_fork_child(void);

#endif
