/* heap.h - sampled blocks turned into counters by stack and size class.
 *
 * Runs in: app's thread inside an allocation hook, between sampling_enter and sampling_leave (alloc), or in
 * free before the real one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HEAP_H
#define PPROFSHIM_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/profiles/live.h"
#include "shim/snapshot.h"
#include "shim/stack/unwind.h"

/* Records a block that is about to be returned to the caller at `from`. If there is no memory, counts a lost sample;
 * the block is then an ordinary one. */
void heap_on_alloc(void *block, size_t size_bytes, struct unwind_frame from);

/* Records that a block will be freed. Call it before the real free: after that, another thread may own the address. Any
 * pointer will do.
 * Returns the bytes that were asked for; SIZE_MAX if it is no sampled block. */
size_t heap_on_free(void *block);

/* realloc in two steps: take a sampled block out without counting it; then count it as freed, or put it back if the
 * real realloc failed. Call them between self_hold (or sampling_enter) and its end. */
bool heap_take(void *block, struct live_info *info);
void heap_give_back(void *block, struct live_info info);
void heap_count_free(struct live_info info);

#endif
