/* arena.c - the memory of the house.
 *
 * Runs in: app's thread inside a hook, listener, init, fork. No libc but mem*; errno untouched.
 * Shared: the current arena chunk, under arena.lock (rank ARENA, leaf); mapped_bytes is atomic, relaxed
 * (a cap needs no order). A region belongs to one thread at a time and has no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/arena.h"

#include <stdbool.h>
#include <string.h>

#include "shim/layout.h"
#include "shim/os.h"
#include "shim/sync.h"

enum {
	ALIGNMENT = 16,
	PAGE = 4096,
	ARENA_CHUNK = 256 * 1024, /* virtual; only touched pages cost memory */
	REGION_CHUNK = 64 * 1024,
	REQUESTS_RESERVE = 8 * 1024 * 1024,
};

static struct {
	struct lock lock;
	char *next; /* under lock */
	size_t left;
	uint64_t limit_bytes;    /* immutable after init */
	uint64_t requests_bytes; /* immutable after init: regions may bring the sum to this at least */
	uint64_t mapped_bytes;
} arena FORKED = {.limit_bytes = 64u << 20};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

void arena_set_limit(uint64_t bytes)
{
	arena.limit_bytes = bytes;
}

void arena_set_least_for_requests(uint64_t bytes)
{
	arena.requests_bytes = bytes;
}

static int charge(size_t bytes, uint64_t limit_bytes)
{
	uint64_t now = __atomic_add_fetch(&arena.mapped_bytes, bytes, __ATOMIC_RELAXED);
	if (now <= limit_bytes)
		return 0;
	arena_uncharge(bytes);
	return -ENOMEM;
}

/* What is kept for ever leaves a part of the cap to requests: where samples are lost, the index page must still
 * be able to say so. */
static uint64_t lasting_limit(void)
{
	uint64_t reserve = arena.limit_bytes / 4 < REQUESTS_RESERVE ? arena.limit_bytes / 4 : REQUESTS_RESERVE;
	return arena.limit_bytes - reserve;
}

/* A request's memory is given back at once. Where the cap is small it may go above it. */
static uint64_t requests_limit(void)
{
	return arena.limit_bytes > arena.requests_bytes ? arena.limit_bytes : arena.requests_bytes;
}

int arena_charge(size_t bytes)
{
	return charge(bytes, lasting_limit());
}

void arena_uncharge(size_t bytes)
{
	__atomic_sub_fetch(&arena.mapped_bytes, bytes, __ATOMIC_RELAXED);
}

uint64_t arena_mapped_bytes(void)
{
	return __atomic_load_n(&arena.mapped_bytes, __ATOMIC_RELAXED);
}

static void *map_charged(size_t bytes, uint64_t limit_bytes)
{
	if (charge(bytes, limit_bytes) < 0)
		return NULL;
	void *p = os_map(bytes);
	if (!os_failed(p))
		return p;
	arena_uncharge(bytes);
	return NULL;
}

static void *alloc_locked(size_t bytes)
{
	if (bytes > arena.left) {
		size_t chunk = bytes > ARENA_CHUNK ? round_up(bytes, PAGE) : ARENA_CHUNK;
		char *p = map_charged(chunk, lasting_limit());
		if (!p)
			return NULL;
		if (chunk > ARENA_CHUNK) /* a large piece has its own mapping, the current chunk stays */
			return p;
		arena.next = p;
		arena.left = chunk;
	}
	void *p = arena.next;
	arena.next += bytes;
	arena.left -= bytes;
	return p;
}

void *arena_alloc(size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	lock_take(&arena.lock);
	void *p = alloc_locked(round_up(bytes, ALIGNMENT));
	lock_release(&arena.lock);
	return p;
}

FORKED_CODE void arena_fork_prepare(void)
{
	lock_take(&arena.lock);
}

FORKED_CODE void arena_fork_release(void)
{
	lock_release(&arena.lock);
}

struct region_chunk {
	struct region_chunk *older;
	size_t bytes; /* of the mapping */
	size_t used;
	size_t pad_;
};

void *region_alloc(struct region *r, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = round_up(bytes, ALIGNMENT);
	struct region_chunk *c = r->chunks;
	if (!c || c->bytes - c->used < bytes) {
		size_t need = round_up(bytes + sizeof *c, PAGE);
		size_t size = need > REGION_CHUNK ? need : REGION_CHUNK;
		c = map_charged(size, requests_limit());
		if (!c)
			return NULL;
		c->bytes = size;
		c->used = sizeof *c;
		c->older = r->chunks;
		/* a fork child may inherit the list in any state: link only what is complete */
		__atomic_store_n(&r->chunks, c, __ATOMIC_RELEASE);
	}
	void *p = (char *)c + c->used;
	c->used += bytes;
	return p;
}

struct region_mark region_mark(const struct region *r)
{
	return (struct region_mark){r->chunks, r->chunks ? r->chunks->used : 0};
}

static void unmap_until(struct region *r, const struct region_chunk *last)
{
	struct region_chunk *c = r->chunks;
	while (c && c != last) {
		struct region_chunk *older = c->older;
		size_t bytes = c->bytes;
		r->chunks = older;
		os_unmap(c, bytes);
		arena_uncharge(bytes);
		c = older;
	}
}

void region_rewind(struct region *r, struct region_mark m)
{
	unmap_until(r, m.chunk);
	if (!m.chunk)
		return;
	memset((char *)m.chunk + m.used, 0, m.chunk->used - m.used);
	m.chunk->used = m.used;
}

void region_release(struct region *r)
{
	unmap_until(r, NULL);
}
