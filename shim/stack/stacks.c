/* stacks.c - the table of stacks.
 *
 * Runs in: app's thread inside a hook; listener. Any app lock may be held: no allocation but the arena's.
 *
 *   root[hash % ROOTS] ──► stack ──► child[next two bits of the hash] ──► stack ──► …
 *
 * Each stack is a node of a tree of its own slot, so the way to it stays short however many there are, and nothing is
 * ever moved.
 *
 * Shared: the links. A stack is complete before it is linked (release; readers acquire), by a compare and exchange of
 * an empty link, and is never unlinked: no lock. The loser of that race goes on from the winner's stack. If two threads
 * intern the same stack at once, one stack's memory is lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/stacks.h"

#include <string.h>

#include "shim/base/layout.h"
#include "shim/base/losses.h"
#include "shim/base/arena.h"
#include "shim/base/shared.h"
#include "shim/libc/modules.h"

enum { ROOTS = 4096, CHILD_BITS = 2 };

static stack_link roots[ROOTS] LARGE;

/* The one frame of stacks that have no room: its name says what it is. Never called. */
static __attribute__((used, noinline)) void other_stacks(void)
{
	__asm__ volatile("");
}

struct stack stacks_others = {.depth = 1, .pc = {(uintptr_t)&other_stacks}};

/* A multiply-and-fold hash of 64-bit words: addresses differ in few bits, so every word is spread before
 * the next is mixed in. */
static uint32_t hash_stack(const uintptr_t *pc, size_t depth, uint64_t place)
{
	uint64_t h = depth ^ place << 32 ^ place >> 16;
	for (size_t i = 0; i < depth; i++) {
		h = (h ^ pc[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

/* A way through the tree: the link that it has reached, and the bits of the hash that are left there. */
struct way {
	stack_link *at;
	uint32_t rest;
};

/* Returns the stack that is like this one, or NULL: then the link is empty. */
static struct stack *find(struct way *w, const struct stack *like, const uintptr_t *pc)
{
	struct stack *s;
	while ((s = shared_load_acquire(w->at)) &&
	       (s->hash != like->hash || s->depth != like->depth || s->place != like->place ||
	        memcmp(s->pc, pc, like->depth * sizeof *pc) != 0)) {
		w->at = &s->child[w->rest % (1 << CHILD_BITS)];
		w->rest >>= CHILD_BITS;
	}
	return s;
}

static struct stack *make(const struct stack *like, const uintptr_t *pc)
{
	struct stack *s =
		arena_is_full(ARENA_STACKS) ? NULL : arena_alloc_in(ARENA_STACKS, sizeof *s + like->depth * sizeof *pc);
	if (!s)
		return NULL;
	*s = *like;
	memcpy(s->pc, pc, like->depth * sizeof *pc);
	return s;
}

struct stack *stacks_intern(const uintptr_t *pc, size_t depth)
{
	return stacks_intern_at(pc, depth, modules_place_of(pc, depth));
}

struct stack *stacks_intern_at(const uintptr_t *pc, size_t depth, uint64_t place)
{
	const struct stack like = {.hash = hash_stack(pc, depth, place), .depth = (uint32_t)depth, .place = place};
	struct way w = {&roots[like.hash % ROOTS], like.hash / ROOTS};
	struct stack *s = find(&w, &like, pc), *made = s ? NULL : make(&like, pc);
	while (!s && made) {
		struct stack *none = NULL;
		if (shared_cas_release(w.at, &none, made))
			return made;
		s = find(&w, &like, pc); /* another thread was faster */
	}
	if (s)
		return s;
	losses_count(stacks_full);
	return &stacks_others;
}
