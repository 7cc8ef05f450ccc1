/* creations.c - count thread creations by stack.
 *
 * Runs in: app's thread inside pthread_create, new threads; the look-ups in the listener. So: no allocation but the
 * arena's.
 *
 * Shared: the list of sites is read without a lock (linked with release stores, never freed; counts are atomic); the
 * spare starts are under the lock THREADS.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/creations.h"

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"
#include "shim/stack/stacks.h"

struct thread_site {
	struct thread_site *older;
	const struct stack *stack;
	shared_u64 count;
};

/* The site of stacks and sites that have no room. */
static struct thread_site others = {.stack = &stacks_others};

static struct {
	SHARED(struct thread_site *) newest;
	struct thread_start *spare_starts;
} creations FORKED = {.newest = SHARED_INIT(&others)};

struct thread_site *creations_site_of_locked(struct stack *s)
{
	if (s->site)
		return s->site;
	struct thread_site *site = s == &stacks_others ? NULL : arena_alloc_in(ARENA_STACKS, sizeof *site);
	if (!site)
		return &others;
	site->stack = s;
	site->older = shared_own(&creations.newest);
	shared_store_release(&creations.newest, site);
	SET(s->site, site);
	return site;
}

struct thread_start *creations_take_locked(void)
{
	struct thread_start *t = creations.spare_starts;
	if (!t)
		return arena_alloc(sizeof *t);
	SET(creations.spare_starts, t->next);
	return t;
}

void creations_give_back_locked(struct thread_start *t)
{
	SET(t->next, creations.spare_starts);
	SET(creations.spare_starts, t);
}

void threads_count(struct thread_site *site)
{
	shared_add_relaxed(&site->count, 1);
}

const struct stack *threads_site_stack(const struct thread_site *site)
{
	return site ? site->stack : NULL;
}

const struct thread_site *threads_sites(void)
{
	return shared_load_acquire(&creations.newest);
}

const struct thread_site *threads_older_site(const struct thread_site *site)
{
	return site->older;
}

uint64_t threads_site_count(const struct thread_site *site)
{
	return shared_load_relaxed(&site->count);
}

uint64_t threads_created(void)
{
	uint64_t n = 0;
	for (const struct thread_site *t = shared_load_acquire(&creations.newest); t; t = t->older)
		n += shared_load_relaxed(&t->count);
	return n;
}

FORKED_CODE void creations_fork_child(void)
{
	for (struct thread_site *t = shared_own(&creations.newest); t; t = t->older)
		if (shared_own(&t->count))
			shared_set_own(&t->count, 0);
}

FORKED_CODE void creations_forget_starts(void)
{
	creations.spare_starts = NULL;
}
