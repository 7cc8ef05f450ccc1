/* heap.c - turn sampled allocations into counters by stack and size class.
 *
 * Runs in: app's thread inside malloc and free; snapshot_heap in the listener. Any app lock may be held.
 * So: no allocation but the arena's, no dl*, errno preserved.
 *
 *   stack ──► bucket (one a size class) ──► raw and scaled counters
 *               ▲
 *   live block ─┘   (so that a free finds the counters of its allocation)
 *
 * Shared: a stack's list of buckets and the list of all, linked under heap.lock (rank HEAP) with release
 * stores, read without it; buckets are never freed. A bucket's counters, under its stripe (rank HEAP, never
 * two at once but in fork).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/heap.h"

#include "shim/layout.h"
#include "shim/listener.h"
#include "shim/losses.h"
#include "shim/os.h"
#include "shim/sampler.h"
#include "shim/stack_here.h"
#include "shim/stacks.h"
#include "shim/sync.h"
#include "shim/trace.h"

enum { STRIPES = 16 };

struct heap_bucket {
	/* immutable once linked */
	struct heap_bucket *of_stack; /* next bucket of the same stack */
	struct heap_bucket *older;    /* next of all */
	const struct stack *stack;
	size_t class_bytes;
	size_t number; /* how many were made before */
	/* under the stripe; scaled objects in units of 1 / SAMPLER_OBJECT_UNIT */
	struct heap_values raw, scaled;
};

/* Of what has no room: of every size. */
static struct heap_bucket others = {.stack = &stacks_others};

static struct {
	struct lock lock;
	struct heap_bucket *newest; /* atomic */
	struct lock stripe[STRIPES];
} heap FORKED = {.newest = &others};

/* Blocks of like size share a bucket: steps of 8 bytes up to 128, then 8 steps a doubling (as size
 * classes of allocators are). A class is named by its largest size. */
static size_t size_class(size_t size)
{
	size_t step = 8;
	if (size > 128)
		step = (size_t)1 << (60 - __builtin_clzll(size - 1)); /* an eighth of the power of two below */
	return (size + step - 1) & ~(step - 1);
}

static struct lock *stripe_of(const struct heap_bucket *b)
{
	return &heap.stripe[b->number % STRIPES];
}

static struct heap_bucket *find_bucket(const struct stack *s, size_t class_bytes)
{
	struct heap_bucket *b = __atomic_load_n(&s->buckets, __ATOMIC_ACQUIRE);
	while (b && b->class_bytes != class_bytes)
		b = b->of_stack;
	return b;
}

static struct heap_bucket *add_bucket_locked(struct stack *s, size_t class_bytes)
{
	struct heap_bucket *b = find_bucket(s, class_bytes);
	if (b)
		return b;
	b = arena_alloc_in(ARENA_STACKS, sizeof *b);
	if (!b)
		return NULL;
	b->stack = s;
	b->class_bytes = class_bytes;
	b->of_stack = s->buckets;
	b->older = heap.newest;
	b->number = heap.newest->number + 1;
	__atomic_store_n(&s->buckets, b, __ATOMIC_RELEASE);
	__atomic_store_n(&heap.newest, b, __ATOMIC_RELEASE);
	return b;
}

/* Never NULL. */
static struct heap_bucket *intern_bucket(struct stack *s, size_t class_bytes)
{
	struct heap_bucket *b = s == &stacks_others ? &others : find_bucket(s, class_bytes);
	if (!b && !arena_is_full(ARENA_STACKS)) {
		lock_take(&heap.lock);
		b = add_bucket_locked(s, class_bytes);
		lock_release(&heap.lock);
	}
	if (b)
		return b;
	losses_count(stacks_full);
	return &others;
}

static void count_alloc(struct live_info info)
{
	struct sampler_weight w = sampler_weight(info.size_bytes);
	struct heap_bucket *b = info.bucket;
	lock_take(stripe_of(b));
	b->raw.alloc_objects++;
	b->raw.alloc_bytes += info.size_bytes;
	b->scaled.alloc_objects += w.objects;
	b->scaled.alloc_bytes += w.bytes;
	lock_release(stripe_of(b));
	if (trace_is_on())
		trace_heap((int64_t)w.bytes);
}

void heap_count_free(struct live_info info)
{
	struct sampler_weight w = sampler_weight(info.size_bytes);
	struct heap_bucket *b = info.bucket;
	lock_take(stripe_of(b));
	b->raw.free_objects++;
	b->raw.free_bytes += info.size_bytes;
	b->scaled.free_objects += w.objects;
	b->scaled.free_bytes += w.bytes;
	lock_release(stripe_of(b));
	if (trace_is_on())
		trace_heap(-(int64_t)w.bytes);
}

void heap_on_alloc(void *block, size_t size_bytes, struct unwind_frame from)
{
	struct live_info info = {.bucket = intern_bucket(stack_here(0, from), size_class(size_bytes)), .size_bytes = size_bytes};
	struct live_info stale;
	count_alloc(info);
	if (live_insert(block, info, &stale) < 0) { /* its free will not be seen */
		losses_count(heap_no_memory);
		stale = info;
	}
	if (stale.bucket)
		heap_count_free(stale);
	if (__builtin_expect(listener_pending, 0))
		listener_start_pending();
}

bool heap_take(void *block, struct live_info *info)
{
	return live_may_hold(block) && live_remove(block, info);
}

void heap_give_back(void *block, struct live_info info)
{
	struct live_info stale;
	if (live_insert(block, info, &stale) < 0) {
		losses_count(heap_no_memory);
		heap_count_free(info);
	}
}

void heap_on_free(void *block)
{
	struct live_info info;
	if (!live_may_hold(block))
		return;
	if (!sampler_hold()) { /* a signal handler inside the recorder: the locks may be this thread's */
		losses_count(free_nested);
		return;
	}
	if (live_remove(block, &info))
		heap_count_free(info);
	sampler_release();
}

static struct heap_values round_objects(struct heap_values v)
{
	v.alloc_objects = (v.alloc_objects + SAMPLER_OBJECT_UNIT / 2) / SAMPLER_OBJECT_UNIT;
	v.free_objects = (v.free_objects + SAMPLER_OBJECT_UNIT / 2) / SAMPLER_OBJECT_UNIT;
	return v;
}

int snapshot_heap(struct region *r, struct heap_snapshot *s)
{
	struct heap_bucket *b = __atomic_load_n(&heap.newest, __ATOMIC_ACQUIRE);
	*s = (struct heap_snapshot){
	    .time_ns = os_clock_ns(CLOCK_REALTIME),
	    .rate_bytes = sampler_rate_bytes(),
	    .count = b ? b->number + 1 : 0,
	};
	s->rows = region_alloc(r, s->count * sizeof *s->rows + 1);
	if (!s->rows)
		return -ENOMEM;
	for (; b; b = b->older) {
		struct heap_row *row = &s->rows[b->number];
		row->stack = b->stack;
		row->class_bytes = b->class_bytes;
		lock_take(stripe_of(b));
		row->raw = b->raw;
		row->scaled = b->scaled;
		lock_release(stripe_of(b));
		row->scaled = round_objects(row->scaled);
	}
	return 0;
}

void snapshot_count_heap(uint64_t *in_use, uint64_t *all)
{
	*in_use = *all = 0;
	for (struct heap_bucket *b = __atomic_load_n(&heap.newest, __ATOMIC_ACQUIRE); b; b = b->older) {
		lock_take(stripe_of(b));
		*in_use += b->raw.alloc_objects > b->raw.free_objects;
		*all += b->raw.alloc_objects > 0;
		lock_release(stripe_of(b));
	}
}

/* Stripes before the list: heap.lock is never held while a stripe is taken elsewhere. */
FORKED_CODE void heap_fork_prepare(void)
{
	lock_take(&heap.lock);
	for (int i = 0; i < STRIPES; i++)
		lock_take(&heap.stripe[i]);
}

FORKED_CODE void heap_fork_release(void)
{
	for (int i = STRIPES; i-- > 0;)
		lock_release(&heap.stripe[i]);
	lock_release(&heap.lock);
}
