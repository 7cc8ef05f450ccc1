/* live.c - the table of live sampled blocks.
 *
 * Runs in: app's thread inside malloc and free. Any app lock may be held.
 * Shared: slot chains, under the stripe of their slot (rank LIVE); empty slots are read without it (see live_may_hold).
 * unmarked_lock (rank UNMARKED, taken inside a stripe) guards the count of unmarked blocks and the mask that follows
 * it.
 * A fork child may inherit a chain in the middle of a change, and the stripe's lock with it. After each store chains
 * can be walked; at worst a block that was being unlinked is lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/live.h"

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"

enum {
	STRIPES = 32,
	SLOTS_MAX = 1 << 18, /* 2 MiB: a program may lock all its memory (mlockall) */
	SLOTS_MIN = 1 << 12,
	NODE_BATCH = 32,
	PAGE_SHIFT = 12,
	BLOCK_SHIFT = 4,
	RATE_FOR_PAGES = 32 * 1024, /* below this a page per sample is too much, and slots are closer */
};

/* All address bits below the alignment but bit 4: zero in 0x…000 and in 0x…010. */
static const uintptr_t MARK_MASK = (LIVE_MARK_ALIGN - 1) & ~(uintptr_t)0x10;

struct live_block {
	live_link next;
	uintptr_t address;
	struct live_info info;
};

static live_link no_block;

shared_address live_mark_mask = SHARED_INIT(UINTPTR_MAX); /* nothing is sampled: every block but NULL is foreign */
struct live_slots live_slots = {.head = &no_block};

static struct {
	struct lock lock;
	live_link spare; /* under lock */
} stripes[STRIPES] FORKED;

static struct {
	struct lock unmarked_lock;
	size_t unmarked; /* live sampled blocks without a mark, under unmarked_lock */
	uintptr_t mask;  /* the mask when there is none; immutable after init */
} marks FORKED;

static void *map_slots(size_t slots)
{
	size_t bytes = slots * sizeof(void *);
	if (arena_charge(bytes) < 0)
		return NULL;
	void *p = os_map(bytes);
	if (os_failed(p)) {
		arena_uncharge(bytes);
		return NULL;
	}
	os_call(SYS_madvise, p, bytes, MADV_NOHUGEPAGE); /* few of its pages are ever touched, not 512 at a time */
	return p;
}

int live_start(bool may_mark, uint64_t rate_bytes, uint64_t memory_limit_bytes)
{
	bool coarse = rate_bytes >= RATE_FOR_PAGES;
	size_t slots = SLOTS_MAX;
	while (slots > SLOTS_MIN && slots * sizeof(void *) > memory_limit_bytes / 8)
		slots /= 2;
	void *head = map_slots(slots);
	while (!head && slots > SLOTS_MIN) /* address space may be short (RLIMIT_AS) */
		head = map_slots(slots /= 2);
	if (!head)
		return -ENOMEM;
	live_slots.mask = slots - 1;
	live_slots.shift = coarse ? PAGE_SHIFT : BLOCK_SHIFT;
	live_slots.head = head;
	marks.mask = may_mark && coarse ? MARK_MASK : 0;
	shared_set_own(&live_mark_mask, marks.mask);
	return 0;
}

bool live_uses_marks(void)
{
	return marks.mask != 0;
}

bool live_is_marked(const void *block)
{
	return ((uintptr_t)block & marks.mask) == 0;
}

static size_t slot_of(const void *block)
{
	return (uintptr_t)block >> live_slots.shift & live_slots.mask;
}

/* While there is an unmarked sampled block, free has to ask for every block. Such a block is counted before it is
 * linked, and until after it is unlinked, so there are never more than the count says.
 * Returns false if the lock could not be had; then nothing is changed. */
static bool count_unmarked(const void *block, int change)
{
	if (live_is_marked(block))
		return true;
	if (!lock_take(&marks.unmarked_lock, LOCK_UNMARKED))
		return false;
	marks.unmarked += (size_t)change;
	shared_store_relaxed(&live_mark_mask, marks.unmarked ? 0 : marks.mask);
	lock_release(&marks.unmarked_lock);
	return true;
}

static void set(live_link *at, struct live_block *to)
{
	shared_store_release(at, to); /* stores stay in this order, for fork children */
}

static struct live_block *take_spare_locked(size_t stripe)
{
	struct live_block *b = shared_own(&stripes[stripe].spare);
	if (!b) {
		b = arena_is_full(ARENA_BLOCKS) ? NULL : arena_alloc_in(ARENA_BLOCKS, NODE_BATCH * sizeof *b);
		if (!b)
			return NULL;
		for (int i = 0; i < NODE_BATCH - 1; i++)
			shared_set_own(&b[i].next, &b[i + 1]);
	}
	set(&stripes[stripe].spare, shared_own(&b->next));
	return b;
}

static void give_spare_locked(size_t stripe, struct live_block *b)
{
	set(&b->next, shared_own(&stripes[stripe].spare));
	set(&stripes[stripe].spare, b);
}

static live_link *find_locked(size_t slot, const void *block)
{
	live_link *at = &live_slots.head[slot];
	while (shared_own(at) && shared_own(at)->address != (uintptr_t)block)
		at = &shared_own(at)->next;
	return at;
}

static int insert_locked(size_t slot, const void *block, struct live_info info, struct live_info *stale)
{
	struct live_block *b = shared_own(find_locked(slot, block));
	if (b) {
		*stale = b->info;
		b->info = info;
		return 0;
	}
	b = take_spare_locked(slot % STRIPES);
	if (!b)
		return -ENOMEM;
	if (!count_unmarked(block, +1)) {
		give_spare_locked(slot % STRIPES, b);
		return -EBUSY;
	}
	*b = (struct live_block){
		.next = SHARED_INIT(shared_own(&live_slots.head[slot])), .address = (uintptr_t)block, .info = info};
	set(&live_slots.head[slot], b);
	return 0;
}

int live_insert(const void *block, struct live_info info, struct live_info *stale)
{
	size_t slot = slot_of(block);
	stale->bucket = NULL;
	if (!lock_take(&stripes[slot % STRIPES].lock, LOCK_LIVE))
		return -EBUSY;
	int r = insert_locked(slot, block, info, stale);
	lock_release(&stripes[slot % STRIPES].lock);
	return r;
}

int live_remove(const void *block, struct live_info *info)
{
	size_t slot = slot_of(block);
	if (!lock_take(&stripes[slot % STRIPES].lock, LOCK_LIVE))
		return -EBUSY;
	live_link *at = find_locked(slot, block);
	struct live_block *b = shared_own(at);
	if (b) {
		*info = b->info;
		set(at, shared_own(&b->next));
		give_spare_locked(slot % STRIPES, b);
		count_unmarked(block, -1); /* if that fails, the count stays too high, which only costs time */
	}
	lock_release(&stripes[slot % STRIPES].lock);
	return b ? 1 : 0;
}
