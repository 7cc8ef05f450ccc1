/* malloc.h - what init must do for the allocator's hooks.
 *
 * Runs in: init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOOKS_MALLOC_H
#define PPROFSHIM_HOOKS_MALLOC_H

/* Adapts to the program's allocator, before sampling starts. */
void hooks_malloc_start(void);

#endif
