/* cxx.c - the C++ operators new and delete.
 *
 * Runs in: app's thread. An exception (bad_alloc) may pass through every function here: nothing is held, and
 * there is nothing to undo.
 *
 * libstdc++'s operators call malloc and free, which are hooked: there the operator's hook only jumps on. An allocator
 * with operators of its own (jemalloc, tcmalloc, mimalloc) may serve them without calling malloc. The operators are
 * hooked for these: blocks are counted here, unless the call went through one of the C hooks after all, which the
 * countdown and the number of samples show. Each operator's first call finds out which of the two holds.
 *
 * They are hooked only if the program was started with operators (exports.c). Then these come first for every library
 * that it opens later, with us as without: the next definition is the same for every caller, and is never unloaded. In
 * a program that was started without operators we define none: each library that it opens is bound to those in its own
 * scope.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/exports.h"
#include "shim/base/shared.h"
#include "shim/profiles/heap.h"
#include "shim/libc/real.h"
#include "shim/profiles/sampling.h"

static void count_new(void *p, size_t size, struct unwind_frame from)
{
	if (sampling_skip(size) || !sampling_enter(size))
		return;
	heap_on_alloc(p, size, from);
	sampling_leave();
}

static bool is_allocators_own(struct real_symbol s)
{
	return s.address && s.object == real_find("malloc").object && !real_malloc_is_libc();
}

/* plain_: for an operator that nobody else defines (a weak reference of the program that our presence resolves). */
#define HOOK_NEW(symbol, type, params, args) \
	static type(*next_##symbol) params; \
	static type counted_##symbol params \
	{ \
		int64_t before = self.countdown_bytes; \
		uint32_t samples = self.samples; \
		void *p = next_##symbol args; \
		if (p && self.countdown_bytes == before && self.samples == samples) \
			count_new(p, size, UNWIND_CALLER()); \
		return p; \
	} \
	static type plain_##symbol params \
	{ \
		return real_malloc(size); \
	} \
	BOOT(symbol, type, params, args) \
	EXPORT type symbol params \
	{ \
		return real_##symbol args; \
	}

#define HOOK_DELETE(symbol, type, params, args) \
	static type(*next_##symbol) params; \
	static type counted_##symbol params \
	{ \
		heap_on_free(block); \
		next_##symbol args; \
	} \
	static type plain_##symbol params \
	{ \
		real_free(block); \
	} \
	BOOT(symbol, type, params, args) \
	EXPORT type symbol params \
	{ \
		real_##symbol args; \
	}

#define BOOT(symbol, type, params, args) \
	static type boot_##symbol params \
	{ \
		struct real_symbol s = real_find(#symbol); \
		type(*go) params = s.address ? (type(*) params)s.address : plain_##symbol; \
		if (is_allocators_own(s)) { \
			next_##symbol = go; \
			go = counted_##symbol; \
		} \
		word_store_release(&real_##symbol, go); \
		return go args; \
	} \
	type(*real_##symbol) params = boot_##symbol;

#pragma GCC diagnostic ignored "-Wunused-parameter" /* the sizes and tags of forms that have a plainer fallback */
#include "shim/hooks.def"
