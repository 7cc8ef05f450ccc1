/* malloc.c - the C allocator's functions.
 *
 * Runs in: app's thread, at any time from the loader's first malloc on, with any lock held, in a signal handler too (a
 * program's own fault).
 * So: errno is what the real function left; no allocation of our own. The first instructions decide whether this call
 * concerns us; if not, we jump to the real function with nothing on the stack.
 *
 * A slow half (noinline, reached by a tail call, so that its return address is still the program's) has four steps:
 * enter, call, record, leave.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/profiles/heap.h"
#include "shim/hooks/malloc.h"
#include "shim/base/layout.h"
#include "shim/profiles/live.h"
#include "shim/base/losses.h"
#include "shim/libc/real.h"
#include "shim/profiles/sampling.h"

/* From MAPPED_FROM on libc makes a block a mapping of its own (its default M_MMAP_THRESHOLD). That has the mark
 * already; zeroing or copying it would touch pages that the program may never touch. */
enum { MAPPED_FROM = 128 * 1024, COPY_MAX = 256 * 1024 };

/* Libc keeps freed small blocks in stacks by size (tcache, fastbins). A marked block must not get there: a loop that
 * allocates and frees would be given it again and again, and each free would come to free_marked. So a marked block is
 * large enough for libc to join it with its neighbours when it is freed. So is, mostly, the piece that libc splits off
 * before a small one to align it: else the joined block would begin at the marked address. */
enum { STACKED_BELOW = 1056, SMALL_ALIGN = 4096 };

/* Behind a filter of system calls such an enlarged block stays where it is when it is freed. Joined with its
 * neighbours, it may have libc give memory back, by calls that it never makes for a small block. */
static bool has_to_stay(const void *block, size_t size_bytes)
{
	return confined() && live_uses_marks() && size_bytes < STACKED_BELOW &&
	       ((uintptr_t)block & (SMALL_ALIGN - 1)) == 0;
}

/* Returns a block with a mark. NULL: the allocator has none; then errno is as before. */
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

/* If the allocator refuses, we do not ask again: that would repeat the program's system calls. Only for a small block
 * we do, as its mark needs more room than the block. */
static void *get_block(size_t size)
{
	if (!live_uses_marks())
		return real_malloc(size);
	if (size >= MAPPED_FROM) {
		void *p = real_malloc(size);
		if (!p || live_is_marked(p))
			return p;
		real_free(p);
	}
	void *marked = get_marked(0, size);
	return marked ? marked : real_malloc(size);
}

static SLOW void *malloc_sampled(size_t size)
{
	if (!sampling_enter(size))
		return real_malloc(size);
	void *p = get_block(size);
	if (p)
		heap_on_alloc(p, size, UNWIND_CALLER());
	sampling_leave();
	return p;
}

EXPORT FORKED_CODE void *malloc(size_t size)
{
	if (sampling_skip(size))
		return real_malloc(size);
	return malloc_sampled(size);
}

static SLOW void *calloc_sampled(size_t count, size_t size)
{
	size_t total = count * size;
	if (!sampling_enter(total))
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
	sampling_leave();
	return p;
}

EXPORT FORKED_CODE void *calloc(size_t count, size_t size)
{
	size_t total;
	if (__builtin_expect(__builtin_mul_overflow(count, size, &total), 0) || sampling_skip(total))
		return real_calloc(count, size);
	return calloc_sampled(count, size);
}

/* A small sampled block from realloc gets its mark by being moved once more. A large one stays where it is: while such
 * a block lives, every free asks the table (live.c). */
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

static void *realloc_beside(const void *block, size_t size)
{
	void *p = size ? real_malloc(size) : NULL;
	return p ? memcpy(p, block, size < STACKED_BELOW ? size : STACKED_BELOW) : NULL;
}

/* The new block is sampled, the old one was, or both: realloc is a free and an allocation. */
static void *realloc_tracked(void *block, size_t size, bool sampled, struct unwind_frame from)
{
	struct live_info old;
	bool was_live = block && heap_take(block, &old);
	bool stays = was_live && has_to_stay(block, old.size_bytes);
	void *p = stays ? realloc_beside(block, size) : real_realloc(block, size);
	bool failed = !p && size != 0; /* realloc(p, 0) may free and return NULL */
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
	if (!self_hold()) {
		losses_count(free_nested);
		return real_realloc(block, size);
	}
	int64_t before = sampling_shut();
	void *p = realloc_tracked(block, size, false, (struct unwind_frame){0});
	sampling_open(before);
	self_release();
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
	if (!sampling_enter(size))
		return realloc_marked(block, size);
	void *p = realloc_tracked(block, size, true, UNWIND_CALLER());
	sampling_leave();
	return p;
}

EXPORT FORKED_CODE void *realloc(void *block, size_t size)
{
	if (sampling_skip(size)) {
		if (live_is_foreign(block))
			return real_realloc(block, size);
		return realloc_marked(block, size);
	}
	return realloc_sampled(block, size);
}

/* Compilers that know the result of a call do not make it by a jump, and the hook needs a frame. So they are not told.
 */
static SLOW void *reallocarray_refused(void)
{
	void *none = NULL;
	errno = ENOMEM;
	__asm__("" : "+r"(none));
	return none;
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t total;
	if (__builtin_expect(__builtin_mul_overflow(count, size, &total), 0))
		return reallocarray_refused();
	if (sampling_skip(total))
		return live_is_foreign(block) ? real_realloc(block, total) : realloc_marked(block, total);
	return realloc_sampled(block, total);
}

static SLOW void free_sampled(void *block)
{
	size_t size = heap_on_free(block);
	if (!has_to_stay(block, size))
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

/* The aligned functions. The real function itself refuses bad requests (alignment, no memory). A sampled block without
 * a mark is then exchanged for one with a mark. */
static void *aligned_end(void *p, size_t align, size_t size, struct unwind_frame from)
{
	void *marked = p && live_uses_marks() && !live_is_marked(p) ? get_marked(align, size) : NULL;
	if (marked) {
		real_free(p);
		p = marked;
	}
	if (p)
		heap_on_alloc(p, size, from);
	sampling_leave();
	return p;
}

#define ALIGNED_HOOK(symbol, params, args, align) \
	static SLOW void *symbol##_sampled params \
	{ \
		if (!sampling_enter(size)) \
			return real_##symbol args; \
		return aligned_end(real_##symbol args, align, size, UNWIND_CALLER()); \
	} \
	EXPORT void *symbol params \
	{ \
		return sampling_skip(size) ? real_##symbol args : symbol##_sampled args; \
	}

ALIGNED_HOOK(memalign, (size_t align, size_t size), (align, size), align)
ALIGNED_HOOK(aligned_alloc, (size_t align, size_t size), (align, size), align)
ALIGNED_HOOK(valloc, (size_t size), (size), 0)
ALIGNED_HOOK(pvalloc, (size_t size), (size), 0)

static SLOW int posix_memalign_sampled(void **out, size_t align, size_t size)
{
	if (!sampling_enter(size))
		return real_posix_memalign(out, align, size);
	int r = real_posix_memalign(out, align, size);
	void *p = aligned_end(r == 0 ? *out : NULL, align, size, UNWIND_CALLER());
	if (r == 0)
		*out = p;
	return r;
}

EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	return sampling_skip(size) ? real_posix_memalign(out, align, size) : posix_memalign_sampled(out, align, size);
}

/* An allocator other than libc's may implement these by malloc or by each other, and then they would be counted
 * twice. */
#define SHUT(symbol, type, params, args) \
	static type(*foreign_##symbol) params; \
	static SLOW type shut_##symbol params \
	{ \
		int64_t before = sampling_shut(); \
		type r = foreign_##symbol args; \
		sampling_open(before); \
		return r; \
	} \
	static void start_##symbol(void) \
	{ \
		foreign_##symbol = (type(*) params)real_find(#symbol).address; \
		real_##symbol = shut_##symbol; \
	}

SHUT(calloc, void *, (size_t count, size_t size), (count, size))
SHUT(realloc, void *, (void *block, size_t size), (block, size))
SHUT(memalign, void *, (size_t align, size_t size), (align, size))
SHUT(aligned_alloc, void *, (size_t align, size_t size), (align, size))
SHUT(valloc, void *, (size_t size), (size))
SHUT(pvalloc, void *, (size_t size), (size))
SHUT(posix_memalign, int, (void **out, size_t align, size_t size), (out, align, size))

void hooks_malloc_start(void)
{
	if (real_malloc_is_libc())
		return;
	start_calloc();
	start_realloc();
	start_memalign();
	start_aligned_alloc();
	start_valloc();
	start_pvalloc();
	start_posix_memalign();
}
