/* layout.h - where variables lie in memory, for the pages that they cost.
 *
 * Runs in: nowhere; macros. The linker sorts sections by name (Makefile).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LAYOUT_H
#define PPROFSHIM_LAYOUT_H

/* For data that is written around every fork (locks, what the child resets). It is kept together, because each of its
 * pages is copied twice: by the parent and by the child. */
#define FORKED __attribute__((section(".data.0forked")))

/* For code that every child of a fork runs. The child's page table maps no code yet, so functions that lie near each
 * other cost one page fault in all. The allocator's hooks lie there, too. */
#define FORKED_CODE __attribute__((section(".text.0forked")))

/* For large, sparsely used variables: they lie after all small ones, so that the small ones share few pages. */
#define LARGE __attribute__((section(".bss.zlarge")))

#endif
