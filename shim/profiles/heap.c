/* heap.c - turn sampled allocations into counters by stack and size class.
 *
 * Runs in: app's thread inside malloc and free; snapshot_heap in the listener. Any app lock may be held.
 * So: no allocation but the arena's, no dl*, errno preserved.
 *
 *   stack ──► bucket (one a size class) ──► raw and scaled counters
 *               ▲
 *   live block ─┘   (so that a free finds the counters of its allocation)
 *
 * Shared, without a lock: a stack's list of buckets and the list of all buckets. Buckets are linked at the head by one
 * compare-and-exchange and never unlinked; their counters are atomic. A bucket is put on the list of all before its
 * stack's list: a fork child that inherits it between the two has one more row of zeros, and loses no counts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/heap.h"

#include <string.h>
#include <sys/resource.h>

#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/profiles/sampling.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/profiles/trace_events.h"

/* As struct heap_values (snapshot.h), while threads count. */
struct heap_counters {
	shared_u64 alloc_objects, alloc_bytes, free_objects, free_bytes;
};

struct heap_bucket {
	/* immutable once linked */
	struct heap_bucket *of_stack; /* next bucket of the same stack */
	struct heap_bucket *older;    /* next of all */
	const struct stack *stack;
	size_t class_bytes;
	size_t number; /* how many were made before */
	/* scaled objects in units of 1 / SAMPLING_OBJECT_UNIT */
	struct heap_counters raw, scaled;
};

/* For samples that found no room, of every size. */
static struct heap_bucket others = {.stack = &stacks_others};

static struct {
	SHARED(struct heap_bucket *) newest;
} heap FORKED = {.newest = SHARED_INIT(&others)};

/* Blocks of similar size share a bucket: steps of 8 bytes up to 128, then 8 steps per doubling (like the size classes
 * of allocators). A class is named after its largest size. */
static size_t size_class(size_t size)
{
	size_t step = 8;
	if (size > 128)
		step = (size_t)1 << (60 - __builtin_clzll(size - 1)); /* an eighth of the power of two below */
	return (size + step - 1) & ~(step - 1);
}

static struct heap_bucket *find_from(struct heap_bucket *b, size_t class_bytes)
{
	while (b && b->class_bytes != class_bytes)
		b = b->of_stack;
	return b;
}

static struct heap_bucket *make_bucket(struct stack *s, size_t class_bytes)
{
	struct heap_bucket *b = arena_is_full(ARENA_STACKS) ? NULL : arena_alloc_in(ARENA_STACKS, sizeof *b);
	if (!b)
		return NULL;
	b->stack = s;
	b->class_bytes = class_bytes;
	b->older = shared_load_acquire(&heap.newest);
	do
		b->number = b->older->number + 1;
	while (!shared_cas_acq_rel(&heap.newest, &b->older, b));
	return b;
}

/* If another thread made the same bucket first, that one is used, and ours counts nothing. Never NULL. */
static struct heap_bucket *intern_bucket(struct stack *s, size_t class_bytes)
{
	if (s == &stacks_others)
		return &others;
	struct heap_bucket *first = shared_load_acquire(&s->buckets), *b = find_from(first, class_bytes);
	if (b)
		return b;
	struct heap_bucket *made = make_bucket(s, class_bytes);
	if (!made) {
		losses_count(stacks_full);
		return &others;
	}
	do {
		made->of_stack = first;
		if (shared_cas_acq_rel(&s->buckets, &first, made))
			return made;
	} while (!(b = find_from(first, class_bytes)));
	return b;
}

static void add(shared_u64 *objects, uint64_t object_count, shared_u64 *bytes, uint64_t byte_count)
{
	shared_add_relaxed(bytes, byte_count);
	shared_add_release(objects, object_count);
}

static void count_alloc(struct live_info info)
{
	struct sampling_weight w = sampling_weight(info.size_bytes);
	struct heap_bucket *b = info.bucket;
	add(&b->scaled.alloc_objects, w.objects, &b->scaled.alloc_bytes, w.bytes);
	add(&b->raw.alloc_objects, 1, &b->raw.alloc_bytes, info.size_bytes);
	if (trace_is_on())
		trace_heap((int64_t)w.bytes);
}

void heap_count_free(struct live_info info)
{
	struct sampling_weight w = sampling_weight(info.size_bytes);
	struct heap_bucket *b = info.bucket;
	add(&b->scaled.free_objects, w.objects, &b->scaled.free_bytes, w.bytes);
	add(&b->raw.free_objects, 1, &b->raw.free_bytes, info.size_bytes);
	if (trace_is_on())
		trace_heap(-(int64_t)w.bytes);
}

static void count_loss(int error)
{
	if (error == -EBUSY)
		losses_count(lock_not_had);
	else
		losses_count(heap_no_memory);
}

/* If a block can't be taken out now, its entry is found stale when the next block at its address is entered. */
static bool remove_block(void *block, struct live_info *info)
{
	int r = live_remove(block, info);
	if (r < 0)
		losses_count(free_lock_not_had);
	return r > 0;
}

void heap_on_alloc(void *block, size_t size_bytes, struct unwind_frame from)
{
	struct live_info info = {.bucket = intern_bucket(stack_here(0, from), size_class(size_bytes)),
	                         .size_bytes = size_bytes};
	struct live_info stale;
	count_alloc(info);
	int r = live_insert(block, info, &stale);
	if (r < 0) { /* its free will not be seen */
		count_loss(r);
		stale = info;
	}
	if (stale.bucket)
		heap_count_free(stale);
	if (__builtin_expect(shared_glance(&listener_pending), 0))
		listener_start_pending();
}

bool heap_take(void *block, struct live_info *info)
{
	return live_may_hold(block) && remove_block(block, info);
}

void heap_give_back(void *block, struct live_info info)
{
	struct live_info stale;
	int r = live_insert(block, info, &stale);
	if (r < 0) {
		count_loss(r);
		heap_count_free(info);
	}
}

size_t heap_on_free(void *block)
{
	struct live_info info = {.size_bytes = SIZE_MAX};
	if (!live_may_hold(block))
		return SIZE_MAX;
	if (!self_hold()) { /* a signal handler inside the recorder: the locks may be this thread's */
		losses_count(free_nested);
		return SIZE_MAX;
	}
	if (remove_block(block, &info))
		heap_count_free(info);
	self_release();
	return info.size_bytes;
}

static struct heap_values read_once(const struct heap_counters *v)
{
	struct heap_values copy;
	copy.free_objects = shared_load_acquire(&v->free_objects);
	copy.free_bytes = shared_load_acquire(&v->free_bytes);
	copy.alloc_objects = shared_load_acquire(&v->alloc_objects);
	copy.alloc_bytes = shared_load_acquire(&v->alloc_bytes);
	return copy;
}

/* Reads frees before allocations, so that there are never more frees. Reads until two reads agree, so that objects
 * match their bytes, unless they change all the time. */
static struct heap_values read_values(const struct heap_counters *v)
{
	enum { TRIES = 8 };
	struct heap_values copy = read_once(v), again;
	for (int i = 0; i < TRIES; i++, copy = again) {
		again = read_once(v);
		if (memcmp(&again, &copy, sizeof copy) == 0)
			break;
	}
	return copy;
}

static struct heap_values round_objects(struct heap_values v)
{
	v.alloc_objects = (v.alloc_objects + SAMPLING_OBJECT_UNIT / 2) / SAMPLING_OBJECT_UNIT;
	v.free_objects = (v.free_objects + SAMPLING_OBJECT_UNIT / 2) / SAMPLING_OBJECT_UNIT;
	return v;
}

/* Of the program's memory, which is the listener's own, too. */
static uint64_t max_rss_bytes(void)
{
	struct rusage usage;
	return os_call(SYS_getrusage, RUSAGE_SELF, &usage) < 0 ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

int snapshot_heap(struct region *r, struct heap_snapshot *s)
{
	struct heap_bucket *b = shared_load_acquire(&heap.newest);
	*s = (struct heap_snapshot){
		.time_ns = os_clock_ns(CLOCK_REALTIME),
		.rate_bytes = sampling_rate_bytes(),
		.max_rss_bytes = max_rss_bytes(),
		.count = b ? b->number + 1 : 0,
	};
	s->rows = region_alloc(r, s->count * sizeof *s->rows + 1);
	if (!s->rows)
		return -ENOMEM;
	for (; b && !pace(); b = b->older) {
		struct heap_row *row = &s->rows[b->number];
		row->stack = b->stack;
		row->class_bytes = b->class_bytes;
		row->raw = read_values(&b->raw);
		row->scaled = round_objects(read_values(&b->scaled));
	}
	return b ? -ECANCELED : 0;
}

void snapshot_count_heap(uint64_t *in_use, uint64_t *all)
{
	*in_use = *all = 0;
	for (struct heap_bucket *b = shared_load_acquire(&heap.newest); b; b = b->older) {
		struct heap_values raw = read_once(&b->raw);
		*in_use += raw.alloc_objects > raw.free_objects;
		*all += raw.alloc_objects > 0;
	}
}

uint64_t snapshot_heap_in_use(void)
{
	uint64_t bytes = 0;
	for (struct heap_bucket *b = shared_load_acquire(&heap.newest); b; b = b->older) {
		struct heap_values scaled = read_once(&b->scaled);
		bytes += scaled.alloc_bytes - scaled.free_bytes;
	}
	return bytes;
}
