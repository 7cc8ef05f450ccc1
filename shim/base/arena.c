/* arena.c - our own memory.
 *
 * Runs in: app's thread inside a hook, listener, init, fork. No libc but mem*; errno untouched.
 * Shared, without a lock: the current chunk, which itself holds how much of it is used. So each chunk changes by one
 * atomic operation, and a fork child inherits them sound at any time. The counts of bytes and `refused` are atomic,
 * relaxed (a limit needs no order). A region belongs to one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/arena.h"

#include <stdbool.h>
#include <string.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum {
	ALIGNMENT = 16,
	PAGE = 4096,
	ARENA_CHUNK = 256 * 1024, /* virtual; only pages in use cost memory */
	REGION_CHUNK = 64 * 1024,
	SMALL_REGION = 4 * REGION_CHUNK,
	FOR_SMALL = 72 * REGION_CHUNK, /* as many as there are connections */
	RINGS_LEAST = 1 << 20,
	RINGS_MOST = 4 << 20,
};

/* refused: FOR_GOOD, or how many more times a party is refused before the kernel is asked again. */
enum { FOR_GOOD = -1, FOR_A_WHILE = 1000 };

/* A part of PPROF_MEMORY_LIMIT. */
struct pot {
	uint64_t limit_bytes; /* immutable after init */
	shared_u64 mapped_bytes;
};

struct arena_chunk {
	size_t bytes;     /* immutable */
	shared_size used; /* if it is more than `bytes`, the chunk is full */
};

static struct {
	SHARED(struct arena_chunk *) chunk;
	shared_u64 used_bytes;       /* of what lasts */
	uint64_t least_for_requests; /* immutable after init */
	shared_i32 refused[ARENA_PARTIES];
	struct pot lasting, rings, requests;
} arena FORKED = {.lasting = {.limit_bytes = 32u << 20},
                  .rings = {.limit_bytes = RINGS_MOST},
                  .requests = {.limit_bytes = 28u << 20}};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : n > most ? most : n;
}

void arena_set_limit(uint64_t bytes)
{
	uint64_t rings = bytes ? clamp(bytes / 16, RINGS_LEAST, RINGS_MOST) : 0, rest = bytes - bytes / 2;
	arena.lasting.limit_bytes = bytes / 2;
	arena.rings.limit_bytes = rings;
	arena.requests.limit_bytes = clamp(rest > rings ? rest - rings : rest, arena.least_for_requests, UINT64_MAX);
	memset(arena.refused, 0, sizeof arena.refused);
}

void arena_set_least_for_requests(uint64_t bytes)
{
	arena.least_for_requests = bytes;
	arena.requests.limit_bytes = clamp(arena.requests.limit_bytes, bytes, UINT64_MAX);
}

static int charge(struct pot *p, size_t bytes, uint64_t limit_bytes)
{
	if (shared_add_relaxed(&p->mapped_bytes, bytes) + bytes <= limit_bytes)
		return 0;
	shared_sub_relaxed(&p->mapped_bytes, bytes);
	return -ENOMEM;
}

static void uncharge(struct pot *p, size_t bytes)
{
	shared_sub_relaxed(&p->mapped_bytes, bytes);
}

static void unuse(size_t bytes)
{
	shared_sub_relaxed(&arena.used_bytes, bytes);
}

static bool use(size_t bytes, uint64_t limit_bytes)
{
	if (shared_add_relaxed(&arena.used_bytes, bytes) + bytes <= limit_bytes)
		return true;
	unuse(bytes);
	return false;
}

int arena_charge(size_t bytes)
{
	if (!use(bytes, arena.lasting.limit_bytes))
		return -ENOMEM;
	int r = charge(&arena.lasting, bytes, arena.lasting.limit_bytes);
	if (r < 0)
		unuse(bytes);
	return r;
}

void arena_uncharge(size_t bytes)
{
	unuse(bytes);
	uncharge(&arena.lasting, bytes);
}

int arena_charge_request(size_t bytes)
{
	return charge(&arena.requests, bytes, arena.requests.limit_bytes);
}

void arena_uncharge_request(size_t bytes)
{
	uncharge(&arena.requests, bytes);
}

static uint64_t mapped_of(const struct pot *p)
{
	return shared_load_relaxed(&p->mapped_bytes);
}

uint64_t arena_mapped_bytes(void)
{
	return mapped_of(&arena.lasting) + mapped_of(&arena.rings) + mapped_of(&arena.requests);
}

uint64_t arena_rings_bytes(void)
{
	return arena.rings.limit_bytes;
}

uint64_t arena_requests_bytes(void)
{
	return arena.requests.limit_bytes;
}

shared_bool os_confined FORKED; /* here, because memory is the first thing that a confined process lacks */

/* Sets *refused, if it is not NULL, to how long asking is useless. */
static void *map_charged(struct pot *p, size_t bytes, uint64_t limit_bytes, shared_i32 *refused)
{
	int32_t hopeless = FOR_GOOD;
	if (!confined() && charge(p, bytes, limit_bytes) == 0) {
		void *at = os_map(bytes);
		if (!os_failed(at))
			return at;
		uncharge(p, bytes);
		hopeless = FOR_A_WHILE;
	}
	if (refused)
		shared_store_relaxed(refused, hopeless);
	return NULL;
}

/* The limit of a party in what is never freed: see arena.h. */
static uint64_t limit_of(enum arena_party party)
{
	uint64_t all = arena.lasting.limit_bytes;
	return party == ARENA_STACKS ? all - all / 8 : party == ARENA_BLOCKS ? all - all / 16 : all;
}

/* The last chunk takes all that is left. */
static size_t chunk_size(size_t bytes)
{
	uint64_t limit = arena.lasting.limit_bytes, mapped = mapped_of(&arena.lasting);
	uint64_t rest = mapped < limit ? (limit - mapped) & ~(uint64_t)(PAGE - 1) : 0;
	size_t least = round_up(bytes, PAGE), most = rest < ARENA_CHUNK ? rest : ARENA_CHUNK;
	return least > most ? least : most;
}

/* Returns NULL if the chunk has no room. */
static void *take_from(struct arena_chunk *c, size_t bytes)
{
	if (!c || shared_load_relaxed(&c->used) + bytes > c->bytes)
		return NULL;
	size_t at = shared_add_relaxed(&c->used, bytes);
	return at + bytes <= c->bytes ? (char *)c + at : NULL;
}

/* Put a new chunk in the place of this one, and give up the rest of this one. If two threads make one, the second uses
 * the first's. */
static bool replace(struct arena_chunk *full, size_t bytes, shared_i32 *refused)
{
	size_t size = chunk_size(bytes + sizeof *full);
	struct arena_chunk *c = map_charged(&arena.lasting, size, arena.lasting.limit_bytes, refused);
	if (!c)
		return false;
	*c = (struct arena_chunk){.bytes = size, .used = SHARED_INIT(sizeof *c)};
	size_t used = full ? shared_load_relaxed(&full->used) : 0;
	size_t rest = full && used < full->bytes ? full->bytes - used : 0;
	if (shared_cas_acq_rel(&arena.chunk, &full, c)) {
		shared_add_relaxed(&arena.used_bytes, rest + sizeof *c);
		return true;
	}
	os_unmap(c, size);
	uncharge(&arena.lasting, size);
	return true;
}

/* A large piece gets its own mapping; the current chunk stays. */
static void *take(size_t bytes, shared_i32 *refused)
{
	if (bytes > ARENA_CHUNK - sizeof(struct arena_chunk))
		return map_charged(&arena.lasting, round_up(bytes, PAGE), arena.lasting.limit_bytes, refused);
	for (;;) {
		struct arena_chunk *c = shared_load_acquire(&arena.chunk);
		void *p = take_from(c, bytes);
		if (p || !replace(c, bytes, refused))
			return p;
	}
}

static void *alloc(enum arena_party party, size_t bytes)
{
	if (!use(bytes, limit_of(party))) {
		shared_store_relaxed(&arena.refused[party], FOR_GOOD);
		return NULL;
	}
	void *p = take(bytes, &arena.refused[party]);
	if (!p)
		unuse(bytes);
	return p;
}

void *arena_alloc_in(enum arena_party party, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	if (party == ARENA_RINGS)
		return map_charged(&arena.rings, round_up(bytes, PAGE), arena.rings.limit_bytes, NULL);
	return alloc(party, round_up(bytes, ALIGNMENT));
}

void *arena_alloc(size_t bytes)
{
	return arena_alloc_in(ARENA_OWN, bytes);
}

bool arena_is_full(enum arena_party party)
{
	int32_t left = shared_load_relaxed(&arena.refused[party]);
	if (__builtin_expect(left == 0, 1))
		return false;
	if (left > 0) /* any number of threads may do this at once: one question more or less does not matter */
		shared_store_relaxed(&arena.refused[party], left - 1);
	return true;
}

struct region_chunk {
	struct region_chunk *older;
	size_t bytes; /* of the mapping */
	size_t used;
	size_t pad_;
};

/* Large regions leave a part to small ones. */
static uint64_t region_limit(const struct region *r, size_t more)
{
	uint64_t all = arena.requests.limit_bytes, for_small = all / 4 < FOR_SMALL ? all / 4 : FOR_SMALL;
	return r->bytes + more > SMALL_REGION ? all - for_small : all;
}

void *region_alloc(struct region *r, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = round_up(bytes, ALIGNMENT);
	struct region_chunk *c = r->chunks;
	if (!c || c->bytes - c->used < bytes) {
		size_t need = round_up(bytes + sizeof *c, PAGE);
		size_t size = need > REGION_CHUNK ? need : REGION_CHUNK;
		c = map_charged(&arena.requests, size, region_limit(r, size), NULL);
		if (!c)
			return NULL;
		r->bytes += size;
		c->bytes = size;
		c->used = sizeof *c;
		c->older = r->chunks;
		/* a fork child may inherit the list in any state: link only what is complete */
		word_store_release(&r->chunks, c);
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
		r->bytes -= bytes;
		os_unmap(c, bytes);
		uncharge(&arena.requests, bytes);
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
