/* stacks.c - the table of stacks.
 *
 * Runs in: app's thread inside a hook. Any app lock may be held: no allocation but the arena's.
 * Shared: the chains of the hash table. Reading needs no lock: a stack is complete before it is linked
 * (release store; acquire load), and it is never unlinked. Linking is under stacks.lock (rank STACKS).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stacks.h"

#include <string.h>

#include "shim/layout.h"
#include "shim/modules.h"
#include "shim/sync.h"

enum { SLOTS = 4096 };

static struct stack *slots[SLOTS] LARGE;

static struct {
	struct lock lock;
} stacks FORKED;

/* A multiply-and-fold hash of 64-bit words: addresses differ in few bits, so every word is spread before
 * the next is mixed in. */
static uint32_t hash_stack(const uintptr_t *pc, size_t depth, unsigned place)
{
	uint64_t h = depth ^ (uint64_t)place << 32;
	for (size_t i = 0; i < depth; i++) {
		h = (h ^ pc[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

static struct stack *find(uint32_t hash, const uintptr_t *pc, size_t depth, unsigned place)
{
	struct stack *s = __atomic_load_n(&slots[hash % SLOTS], __ATOMIC_ACQUIRE);
	while (s && (s->hash != hash || s->depth != depth || s->place != place ||
	             memcmp(s->pc, pc, depth * sizeof *pc) != 0))
		s = s->next;
	return s;
}

static struct stack *add_locked(uint32_t hash, const uintptr_t *pc, size_t depth, unsigned place)
{
	struct stack *s = find(hash, pc, depth, place); /* another thread may have been faster */
	if (s)
		return s;
	s = arena_alloc(sizeof *s + depth * sizeof *pc);
	if (!s)
		return NULL;
	s->hash = hash;
	s->depth = (uint16_t)depth;
	s->place = (uint16_t)place;
	memcpy(s->pc, pc, depth * sizeof *pc);
	s->next = slots[hash % SLOTS];
	__atomic_store_n(&slots[hash % SLOTS], s, __ATOMIC_RELEASE);
	return s;
}

struct stack *stacks_intern(const uintptr_t *pc, size_t depth)
{
	return stacks_intern_at(pc, depth, (uint16_t)modules_place());
}

struct stack *stacks_intern_at(const uintptr_t *pc, size_t depth, unsigned place)
{
	uint32_t hash = hash_stack(pc, depth, place);
	struct stack *s = find(hash, pc, depth, place);
	if (s)
		return s;
	lock_take(&stacks.lock);
	s = add_locked(hash, pc, depth, place);
	lock_release(&stacks.lock);
	return s;
}

FORKED_CODE void stacks_fork_prepare(void)
{
	lock_take(&stacks.lock);
}

FORKED_CODE void stacks_fork_release(void)
{
	lock_release(&stacks.lock);
}
