/* live.h - the table of live sampled blocks, and how free tells them from all others.
 *
 * Runs in: app's thread inside malloc and free.
 *
 *   free(p):  live_is_foreign(p): p & live_mark_mask != 0 ──► not ours, the real free  (one test, one branch)
 *             == 0 ──► live_may_hold(p): is the slot of p's page empty? ──► not ours
 *                      else look p up under its stripe's lock
 *
 * With libc's own malloc a sampled block carries a mark in its address: it is aligned to LIVE_MARK_ALIGN, or it is a
 * mapping of its own (libc puts those 16 bytes into a page). The mask tests the low bits for both. With any
 * other allocator (sized deallocation there would break on a block that is more aligned than
 * its size asks for), and at rates where a page a sample would cost memory, the mask is 0 and every
 * free asks the slot.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LIVE_H
#define PPROFSHIM_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/exports.h"

struct heap_bucket;

/* What a marked block is aligned to. Larger: fewer other blocks look marked (one in 32 here), but libc splits more off
 * for each: with blocks of 10 KiB, 4096 cost 3 % more CPU time, and 512 nothing less. */
enum { LIVE_MARK_ALIGN = 1024 };

/* All ones: nothing is sampled. 0: no marks. Else the low bits that are all zero in a marked address. Written by init
 * and, while an unmarked block is sampled and live, set to 0. */
extern HIDDEN uintptr_t live_mark_mask;

/* The one test of free. */
static inline bool live_is_foreign(const void *block)
{
	return __builtin_expect(arch_has_bits(&live_mark_mask, (uintptr_t)block), 1);
}

struct live_slots {
	struct live_block **head; /* immutable after init; before, one slot that stays empty */
	uintptr_t mask;           /* number of slots - 1 */
	unsigned shift;
};
extern HIDDEN struct live_slots live_slots;

/* Init. `marks`: may blocks be marked (see above)? `memory_limit` bounds the table. 0 or -ENOMEM. */
int live_start(bool marks, uint64_t rate_bytes, uint64_t memory_limit_bytes);

/* Do sampled blocks carry marks in this process, and does this block? */
bool live_uses_marks(void);
bool live_is_marked(const void *block);

/* False: certainly no sampled block is here. A block reaches another thread only after its slot was filled, so
 * a relaxed load is enough. */
static inline bool live_may_hold(const void *block)
{
	uintptr_t slot = (uintptr_t)block >> live_slots.shift & live_slots.mask;
	return __atomic_load_n(&live_slots.head[slot], __ATOMIC_RELAXED) != NULL;
}

struct live_info {
	struct heap_bucket *bucket;
	size_t size_bytes;
};

/* Enter a block that is about to be handed to the program. 0, -ENOMEM, or -EBUSY: its lock could not be had. A stale
 * entry at the same address (its free was never seen) is given back in *stale, with bucket NULL when there was none. */
int live_insert(const void *block, struct live_info info, struct live_info *stale);

/* Take a block out. 1; 0: it is not a sampled one; -EBUSY: its lock could not be had. */
int live_remove(const void *block, struct live_info *info);

#endif
