/* live.h - the table of live sampled blocks, and how free tells them from all others.
 *
 * Runs in: app's thread inside malloc and free.
 *
 *   free(p):  live_is_foreign(p): p & live_mark_mask != 0 ──► not ours, the real free  (one test, one branch)
 *             == 0 ──► live_may_hold(p): is the slot of p's page empty? ──► not ours
 *                      else look p up under its stripe's lock
 *
 * With libc's own malloc a sampled block carries a mark in its address: it is aligned to LIVE_MARK_ALIGN, or it is a
 * mapping of its own (libc puts those 16 bytes into a page). The mask tests the low bits for both. In two cases the
 * mask is 0, and every free looks at the slot: with any other allocator (sized deallocation there would break on a
 * block that is more aligned than its size asks for), and at rates where a page per sample would cost memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LIVE_H
#define PPROFSHIM_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/exports.h"
#include "shim/base/shared.h"

struct heap_bucket;

/* The alignment of a marked block. With a larger one fewer other blocks look marked (one in 32 here), but libc splits
 * off more for each: with blocks of 10 KiB, 4096 costs 3 % more CPU time, and 512 saves nothing more. */
enum { LIVE_MARK_ALIGN = 1024 };

/* All ones: nothing is sampled. 0: no marks. Else the low bits that are all zero in a marked address. Written by init,
 * and set to 0 while an unmarked sampled block is live. */
extern HIDDEN shared_address live_mark_mask;

/* The one test of free. */
static inline bool live_is_foreign(const void *block)
{
	return __builtin_expect(arch_has_bits(shared_word(&live_mark_mask), (uintptr_t)block), 1);
}

/* A link of a list of blocks. */
typedef SHARED(struct live_block *) live_link;

struct live_slots {
	live_link *head; /* immutable after init; before, one slot that stays empty */
	uintptr_t mask;  /* number of slots - 1 */
	unsigned shift;
};
extern HIDDEN struct live_slots live_slots;

/* Sets up the table. `marks`: blocks may be marked (see above). `memory_limit_bytes` bounds the table. Init.
 * Returns 0 or -ENOMEM. */
int live_start(bool marks, uint64_t rate_bytes, uint64_t memory_limit_bytes);

/* Do sampled blocks of this process carry marks? Does this block? */
bool live_uses_marks(void);
bool live_is_marked(const void *block);

/* Returns false if certainly no sampled block is here. A block reaches another thread only after its slot was filled,
 * so a relaxed load is enough. */
static inline bool live_may_hold(const void *block)
{
	uintptr_t slot = (uintptr_t)block >> live_slots.shift & live_slots.mask;
	return shared_load_relaxed(&live_slots.head[slot]) != NULL;
}

struct live_info {
	struct heap_bucket *bucket;
	size_t size_bytes;
};

/* Enters a block that is about to be returned to the program. *stale gets an old entry of the same address whose free
 * was never seen; its bucket is NULL if there was none.
 * Returns 0, -ENOMEM, or -EBUSY: the lock could not be had. */
int live_insert(const void *block, struct live_info info, struct live_info *stale);

/* Takes a block out.
 * Returns 1; 0: it is no sampled block; -EBUSY: the lock could not be had. */
int live_remove(const void *block, struct live_info *info);

#endif
