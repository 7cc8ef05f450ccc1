/* arena.h - our own memory: mapped by itself, capped, never the program's allocator.
 *
 * Runs in: app's thread inside a hook, listener, init. Not in a signal handler.
 *
 * Two shapes:
 *   arena   things that are never freed (modules, stacks, buckets): arena_alloc, arena_alloc_in.
 *   region  a request's scratch memory, owned by one thread at a time and given back whole: region_*.
 *
 * PPROF_MEMORY_LIMIT is divided into three pots, none of which can use another's memory: what is never freed (a half),
 * the rings that signal handlers write to, requests (the rest). Three parties share the first pot. The least important
 * party is refused first; the last part of the pot is left to the others.
 *
 *   0 ───────────────── stacks ─────────────────► 7/8 ── blocks ──► 15/16 ── own ──► 1
 *
 * At a limit, allocation returns NULL. The caller then counts what it can without memory, or loses the sample and
 * counts the loss; the program notices nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARENA_H
#define PPROFSHIM_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set the cap. Init only, before the first allocation. */
void arena_set_limit(uint64_t bytes);

/* Requests get at least this much, however small the cap is. Init only; the default is 0. */
void arena_set_least_for_requests(uint64_t bytes);

enum arena_party {
	ARENA_OWN,    /* needed in any case: objects, threads, the unwinder */
	ARENA_BLOCKS, /* live sampled blocks */
	ARENA_STACKS, /* stacks and their counters */
	ARENA_RINGS,  /* what signal handlers write to; large pieces only */
	ARENA_PARTIES,
};

/* Allocate zeroed memory, 16-byte aligned, that is never freed. Any thread; takes no lock.
 * Returns NULL at the party's limit. */
void *arena_alloc_in(enum arena_party party, size_t bytes);

/* The same for ARENA_OWN. */
void *arena_alloc(size_t bytes);

/* Is it useless to ask for this party? It was refused: at its limit for good; where the kernel gave no memory, for a
 * while. Takes no lock. */
bool arena_is_full(enum arena_party party);

/* Return the most bytes that the rings, and requests, may have in all. */
uint64_t arena_rings_bytes(void);
uint64_t arena_requests_bytes(void);

/* Count bytes that the caller itself maps or unmaps: tables that are never freed, or what a request holds.
 * Returns 0, or -ENOMEM at the limit. */
int arena_charge(size_t bytes);
void arena_uncharge(size_t bytes);
int arena_charge_request(size_t bytes);
void arena_uncharge_request(size_t bytes);

/* Returns the bytes that the arena and regions have mapped now. */
uint64_t arena_mapped_bytes(void);

/* Scratch memory that grows. Zero-initialise it (`struct region r = {0}`); one owner at a time. Large regions leave the
 * last part of the requests' memory to small ones, so that the index page is served while a profile takes all it can
 * get. */
struct region {
	struct region_chunk *chunks; /* newest first */
	size_t bytes;                /* mapped */
};

/* Allocate zeroed memory, 16-byte aligned, valid until region_release.
 * Returns NULL at the limit of requests. */
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
