/* cut.c - the marks at the roots of stacks that end too early.
 *
 * Runs in: app's thread inside a hook, signal handler, listener. Constants alone.
 *
 * A mark is an address in code of ours that never runs, one for each reason. So it lies in mapped code, as every
 * address of a stack does, and needs no room of its own. Profiles name them all [truncated].
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/cut.h"

#include "shim/base/exports.h"

__asm__(".text\n"
        ".hidden pprofshim_cuts\n"
        ".globl pprofshim_cuts\n"
        ".type pprofshim_cuts, %function\n"
        "pprofshim_cuts:\n"
        ".fill 16, 4, 0\n"
        ".size pprofshim_cuts, . - pprofshim_cuts\n");
extern HIDDEN const uint32_t pprofshim_cuts[16];
_Static_assert(CUTS <= 16, "each reason has a mark");

size_t cut_mark(uintptr_t *pc, size_t depth, enum stack_cut cut)
{
	if (cut != CUT_NOT && depth)
		pc[depth++] = (uintptr_t)&pprofshim_cuts[cut];
	return depth;
}

enum stack_cut cut_of(uintptr_t pc)
{
	uintptr_t offset = pc - (uintptr_t)pprofshim_cuts;
	return offset < sizeof pprofshim_cuts ? (enum stack_cut)(offset / sizeof *pprofshim_cuts) : CUT_NOT;
}

const char *cut_reason(enum stack_cut cut)
{
	static const char *const reasons[CUTS] = {
		[CUT_NOT] = "",
		[CUT_DEPTH] = "they are deeper than PPROF_STACK_DEPTH",
		[CUT_NO_TABLE] = "code without unwind tables, and no frame pointer (compilers: "
				 "-fasynchronous-unwind-tables, or -fno-omit-frame-pointer; java: "
				 "-XX:+PreserveFramePointer)",
		[CUT_TABLE] = "unwind tables that lead nowhere",
		[CUT_REGISTER] = "unwind tables that need a register which is not known there",
		[CUT_UNREADABLE] = "memory that cannot be read where a frame should be",
		[CUT_NEW_CODE] = "large frames of code that no stack had met before; later samples are whole",
		[CUT_BUSY] = "too much new code at once; later samples are whole",
		[CUT_NOWHERE] = "a return address that is in no code",
	};
	return reasons[cut < CUTS ? cut : CUT_NOT];
}
