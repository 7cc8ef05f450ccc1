/* layout.h - where variables lie in memory, for the pages that they cost.
 *
 * Runs in: nowhere; macros. The linker sorts sections by name (Makefile).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LAYOUT_H
#define PPROFSHIM_LAYOUT_H

/* Written around every fork (locks, what the child resets): kept together, for each page of them is copied twice, once
 * by the parent and once by the child. */
#define FORKED __attribute__((section(".data.0forked")))

/* Run by every child of a fork, whose page table knows no code yet: one page fault for all, if they are near each
 * other. The allocator's hooks lie there, too. */
#define FORKED_CODE __attribute__((section(".text.0forked")))

/* Large and sparsely used: after everything small, so that small variables share few pages. */
#define LARGE __attribute__((section(".bss.zlarge")))

#endif
