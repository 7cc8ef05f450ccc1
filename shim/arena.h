/* arena.h - the memory of the house: mapped by itself, capped, never the program's allocator.
 *
 * Runs in: app's thread inside a hook, listener, init. Not in a signal handler.
 *
 * Two shapes:
 *   arena   things that are never freed (modules, stacks, buckets): arena_alloc.
 *   region  a request's scratch memory, owned by one thread at a time and given back whole: region_*.
 * Both count against one cap (PPROF_MEMORY_LIMIT), of which a part is left to regions; where the cap is small, they
 * may go above it (arena_set_least_for_requests). At the cap the answer is NULL: the caller loses the sample, counts it, and the
 * program never notices.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARENA_H
#define PPROFSHIM_ARENA_H

#include <stddef.h>
#include <stdint.h>

/* Set the cap. Init only, before the first allocation. */
void arena_set_limit(uint64_t bytes);

/* However small the cap, regions may bring what is mapped to so much. Init only; preset 0. */
void arena_set_least_for_requests(uint64_t bytes);

/* Zeroed memory, 16-byte aligned, never freed; NULL at the cap. Any thread; takes the ARENA lock. */
void *arena_alloc(size_t bytes);

/* Count bytes that a caller maps or unmaps itself against the cap. 0, or -ENOMEM at the cap. */
int arena_charge(size_t bytes);
void arena_uncharge(size_t bytes);

/* Bytes mapped by arena and regions now. */
uint64_t arena_mapped_bytes(void);

void arena_fork_prepare(void);
void arena_fork_release(void); /* in the parent and in the child */

/* A growing scratch memory. Zero-initialise it (`struct region r = {0}`); one owner at a time. */
struct region {
	struct region_chunk *chunks; /* newest first */
};

/* Zeroed memory, 16-byte aligned, valid until region_release; NULL at the cap. */
void *region_alloc(struct region *r, size_t bytes);

/* A place to go back to: what was allocated since is given back. */
struct region_mark {
	struct region_chunk *chunk;
	size_t used;
};
struct region_mark region_mark(const struct region *r);
void region_rewind(struct region *r, struct region_mark m);

/* Unmap everything. The region is empty and usable again. */
void region_release(struct region *r);

#endif
