/* cut.h - why a stack ends before its outermost frame. Such a stack has a mark at its root, an address of its own.
 *
 * Runs in: app's thread inside a hook, signal handler, listener. Constants alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CUT_H
#define PPROFSHIM_CUT_H

#include <stddef.h>
#include <stdint.h>

enum stack_cut {
	CUT_NOT,
	CUT_DEPTH,
	CUT_NO_TABLE,
	CUT_TABLE,
	CUT_REGISTER,
	CUT_UNREADABLE,
	CUT_NEW_CODE,
	CUT_BUSY,
	CUT_NOWHERE,
	CUTS, /* not a reason: their number */
};

/* Write the mark behind the stack pc[0..depth), if it was cut and is not empty.
 * Returns the depth with it. */
size_t cut_mark(uintptr_t *pc, size_t depth, enum stack_cut cut);

/* Returns why the stack is cut whose root is this address; CUT_NOT if it is no mark. */
enum stack_cut cut_of(uintptr_t pc);

/* Returns the reason, for users. */
const char *cut_reason(enum stack_cut cut);

#endif
