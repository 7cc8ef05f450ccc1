/* arena.h - our own memory: mapped by itself, capped, never the program's allocator.
 *
 * Runs in: app's thread inside a hook, listener, init. Not in a signal handler.
 *
 * Two shapes:
 *   arena   things that are never freed (modules, stacks, buckets): arena_alloc, arena_alloc_in.
 *   region  a request's scratch memory, owned by one thread at a time and given back whole: region_*.
 *
 * PPROF_MEMORY_LIMIT is cut into pots, none of which can eat another: what lasts (a half), the rings that handlers
 * write to, requests (the rest). What lasts is taken by three parties, and the one that matters least is refused first:
 * its last part is left to the others.
 *
 *   0 ───────────────── stacks ─────────────────► 7/8 ── blocks ──► 15/16 ── own ──► 1
 *
 * At its limit the answer is NULL: the caller counts what it can without memory, or loses the sample and counts that;
 * the program never notices.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARENA_H
#define PPROFSHIM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set the cap. Init only, before the first allocation. */
void arena_set_limit(uint64_t bytes);

/* However small the cap, requests have so much. Init only; preset 0. */
void arena_set_least_for_requests(uint64_t bytes);

enum arena_party {
	ARENA_OWN,    /* what there must be: objects, threads, the unwinder */
	ARENA_BLOCKS, /* live sampled blocks */
	ARENA_STACKS, /* stacks and their counters */
	ARENA_RINGS,  /* where signal handlers write; of large pieces alone */
	ARENA_PARTIES,
};

/* Zeroed memory, 16-byte aligned, never freed; NULL at the party's limit. Any thread; takes no lock. */
void *arena_alloc_in(enum arena_party party, size_t bytes);

/* The same for ARENA_OWN. */
void *arena_alloc(size_t bytes);

/* Was the party refused? Then it need not ask: at its limit for good, or for a while, where the kernel gave no memory.
 * Takes no lock. */
bool arena_is_full(enum arena_party party);

/* How much the rings, and requests, may have in all. */
uint64_t arena_rings_bytes(void);
uint64_t arena_requests_bytes(void);

/* Count bytes that a caller maps or unmaps itself: tables that last, or what a request holds. 0, or -ENOMEM at the
 * limit. */
int arena_charge(size_t bytes);
void arena_uncharge(size_t bytes);
int arena_charge_request(size_t bytes);
void arena_uncharge_request(size_t bytes);

/* Bytes mapped by arena and regions now. */
uint64_t arena_mapped_bytes(void);

/* A growing scratch memory. Zero-initialise it (`struct region r = {0}`); one owner at a time. Large ones leave the
 * last part of what requests may have to small ones: the index page can be had while a profile takes all it can get. */
struct region {
	struct region_chunk *chunks; /* newest first */
	size_t bytes;                /* mapped */
};

/* Zeroed memory, 16-byte aligned, valid until region_release; NULL at the limit of requests. */
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
