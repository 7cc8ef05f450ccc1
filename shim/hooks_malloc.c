/* hooks_malloc.c - the C allocator's functions.
 *
 * Runs in: app's thread, at any time from the loader's first malloc on, with any lock held, in a signal
 * handler too (a program's own fault).
 * So: errno is what the real function left; no allocation of our own; the first instructions decide
 * whether this call concerns us, and if not the real function is jumped to with nothing on the stack.
 *
 * A slow half (noinline, reached by a tail call, so that its return address is still the program's) has four
 * beats: enter, call, record, leave.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "shim/exports.h"
#include "shim/heap.h"
#include "shim/hooks_malloc.h"
#include "shim/layout.h"
#include "shim/live.h"
#include "shim/losses.h"
#include "shim/real.h"
#include "shim/sampler.h"


/* From here on libc maps a block of its own (its default M_MMAP_THRESHOLD), which bears the mark by
 * itself; zeroing or copying it would touch pages that the program may never touch. */
enum { MAPPED_FROM = 128 * 1024, COPY_MAX = 256 * 1024 };

/* Libc keeps freed small blocks in stacks by size (tcache, fastbins). A marked one must not get there: a loop that
 * allocates and frees would be handed it again and again, and each free would come to free_marked. So a
 * marked block is at least so large that libc joins it with its neighbours when it is freed, and so is, mostly, what
 * libc splits off before a small one to align it: else the joined rest begins at the marked address. */
enum { STACKED_BELOW = 1056, SMALL_ALIGN = 4096 };

/* A block that bears the mark. NULL: the allocator has none; then errno is as before. */
static void *get_marked(size_t align, size_t size)
{
	int saved = errno;
	bool small = size < STACKED_BELOW;
	size_t least = small ? SMALL_ALIGN : LIVE_MARK_ALIGN;
	void *p = real_memalign(align < least ? least : align, small ? STACKED_BELOW : size);
	if (!p)
		errno = saved;
	return p;
}

static SLOW void *malloc_sampled(size_t size)
{
	if (!sampler_enter(size))
		return real_malloc(size);
	void *p = NULL;
	if (live_uses_marks()) {
		p = size < MAPPED_FROM ? get_marked(0, size) : real_malloc(size);
		if (p && !live_is_marked(p)) {
			real_free(p);
			p = get_marked(0, size);
		}
	}
	if (!p)
		p = real_malloc(size);
	if (p)
		heap_on_alloc(p, size, UNWIND_CALLER());
	sampler_leave();
	return p;
}

EXPORT FORKED_CODE void *malloc(size_t size)
{
	if (sampler_skip(size))
		return real_malloc(size);
	return malloc_sampled(size);
}

static SLOW void *calloc_sampled(size_t count, size_t size)
{
	size_t total = count * size;
	if (!sampler_enter(total))
		return real_calloc(count, size);
	void *p = NULL;
	if (live_uses_marks() && total < MAPPED_FROM)
		p = get_marked(0, total);
	if (p)
		memset(p, 0, total);
	else
		p = real_calloc(count, size);
	if (p)
		heap_on_alloc(p, total, UNWIND_CALLER());
	sampler_leave();
	return p;
}

EXPORT FORKED_CODE void *calloc(size_t count, size_t size)
{
	size_t total;
	if (__builtin_expect(__builtin_mul_overflow(count, size, &total), 0) || sampler_skip(total))
		return real_calloc(count, size);
	return calloc_sampled(count, size);
}

/* A sampled block that realloc made gets its mark by one more move while it is small. A large one stays where
 * it is: while such a block lives, every free asks the table (live.c). */
static void *move_to_marked(void *p, size_t size)
{
	if (live_is_marked(p) || size > COPY_MAX)
		return p;
	void *marked = get_marked(0, size);
	if (!marked)
		return p;
	memcpy(marked, p, size);
	real_free(p);
	return marked;
}

/* A sampled block comes in, a sampled one goes out, or both: realloc is a free and an allocation. */
static void *realloc_tracked(void *block, size_t size, bool sampled, struct unwind_frame from)
{
	struct live_info old;
	bool was_live = block && heap_take(block, &old);
	void *p = real_realloc(block, size);
	bool failed = !p && size != 0; /* realloc(p, 0) may free and answer NULL */
	if (was_live && failed)
		heap_give_back(block, old);
	else if (was_live)
		heap_count_free(old);
	if (p && sampled) {
		p = move_to_marked(p, size);
		heap_on_alloc(p, size, from);
	}
	return p;
}

static SLOW void *realloc_counted(void *block, size_t size)
{
	if (!sampler_hold()) {
		losses_count(free_nested);
		return real_realloc(block, size);
	}
	int64_t before = sampler_shut();
	void *p = realloc_tracked(block, size, false, (struct unwind_frame){0});
	sampler_open(before);
	sampler_release();
	return p;
}

/* The old block may be a sampled one, the new one is not. */
static __attribute__((noinline)) void *realloc_marked(void *block, size_t size)
{
	if (!block || !live_may_hold(block))
		return real_realloc(block, size);
	return realloc_counted(block, size);
}

static SLOW void *realloc_sampled(void *block, size_t size)
{
	if (!sampler_enter(size))
		return realloc_marked(block, size);
	void *p = realloc_tracked(block, size, true, UNWIND_CALLER());
	sampler_leave();
	return p;
}

EXPORT FORKED_CODE void *realloc(void *block, size_t size)
{
	if (sampler_skip(size)) {
		if (live_is_foreign(block))
			return real_realloc(block, size);
		return realloc_marked(block, size);
	}
	return realloc_sampled(block, size);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t total;
	if (__builtin_expect(__builtin_mul_overflow(count, size, &total), 0)) {
		errno = ENOMEM;
		return NULL;
	}
	if (sampler_skip(total))
		return live_is_foreign(block) ? real_realloc(block, total) : realloc_marked(block, total);
	return realloc_sampled(block, total);
}

static SLOW void free_sampled(void *block)
{
	heap_on_free(block);
	real_free(block);
}

static __attribute__((noinline)) void free_marked(void *block)
{
	if (__builtin_expect(live_may_hold(block), 0)) {
		free_sampled(block);
		return;
	}
	real_free(block);
}

EXPORT FORKED_CODE void free(void *block)
{
	if (live_is_foreign(block)) {
		real_free(block);
		return;
	}
	free_marked(block);
}

/* The sizes are hints that no allocator needs; plain free is right for every block. */
EXPORT void free_sized(void *block, size_t size)
{
	(void)size;
	free(block);
}

EXPORT void free_aligned_sized(void *block, size_t align, size_t size)
{
	(void)align, (void)size;
	free(block);
}

EXPORT void cfree(void *block)
{
	free(block);
}

/* The aligned family is not worth a fast half. What the real function refuses (a bad alignment, no memory) it
 * refuses itself; a sampled block without a mark is then exchanged for one that has it. */
struct aligned_call {
	bool sampled;
	int64_t before;
};

static struct aligned_call aligned_begin(size_t size)
{
	struct aligned_call c = {.sampled = !sampler_skip(size) && sampler_enter(size)};
	if (!c.sampled)
		c.before = sampler_shut();
	return c;
}

static void *aligned_end(struct aligned_call c, void *p, size_t align, size_t size, struct unwind_frame from)
{
	if (!c.sampled) {
		sampler_open(c.before);
		return p;
	}
	void *marked = p && live_uses_marks() && !live_is_marked(p) ? get_marked(align, size) : NULL;
	if (marked) {
		real_free(p);
		p = marked;
	}
	if (p)
		heap_on_alloc(p, size, from);
	sampler_leave();
	return p;
}

EXPORT ALIGNED void *memalign(size_t align, size_t size)
{
	struct aligned_call c = aligned_begin(size);
	return aligned_end(c, real_memalign(align, size), align, size, UNWIND_CALLER());
}

EXPORT ALIGNED void *aligned_alloc(size_t align, size_t size)
{
	struct aligned_call c = aligned_begin(size);
	return aligned_end(c, real_aligned_alloc(align, size), align, size, UNWIND_CALLER());
}

EXPORT ALIGNED void *valloc(size_t size)
{
	struct aligned_call c = aligned_begin(size);
	return aligned_end(c, real_valloc(size), 0, size, UNWIND_CALLER());
}

EXPORT ALIGNED void *pvalloc(size_t size)
{
	struct aligned_call c = aligned_begin(size);
	return aligned_end(c, real_pvalloc(size), 0, size, UNWIND_CALLER());
}

EXPORT ALIGNED int posix_memalign(void **out, size_t align, size_t size)
{
	struct aligned_call c = aligned_begin(size);
	int r = real_posix_memalign(out, align, size);
	void *p = aligned_end(c, r == 0 ? *out : NULL, align, size, UNWIND_CALLER());
	if (r == 0)
		*out = p;
	return r;
}

/* An allocator other than libc's may build calloc and realloc on malloc, and would be counted twice. */
static void *(*foreign_calloc)(size_t, size_t);
static void *(*foreign_realloc)(void *, size_t);

static SLOW void *shut_calloc(size_t count, size_t size)
{
	int64_t before = sampler_shut();
	void *p = foreign_calloc(count, size);
	sampler_open(before);
	return p;
}

static SLOW void *shut_realloc(void *block, size_t size)
{
	int64_t before = sampler_shut();
	void *p = foreign_realloc(block, size);
	sampler_open(before);
	return p;
}

void hooks_malloc_start(void)
{
	if (real_malloc_is_libc())
		return;
	foreign_calloc = (void *(*)(size_t, size_t))real_find("calloc").address;
	foreign_realloc = (void *(*)(void *, size_t))real_find("realloc").address;
	real_calloc = shut_calloc;
	real_realloc = shut_realloc;
}
