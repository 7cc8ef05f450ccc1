/* handles.c - which thread a pthread_t means, among those that live.
 *
 * Runs in: listener. Reads the records of threads without a lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/arena.h"
#include "shim/base/house.h"
#include "shim/base/shared.h"
#include "shim/threads/threads.h"
#include "shim/threads/timers.h"

struct thread_handle {
	uintptr_t handle; /* 0: a free slot */
	int tid;
};

static size_t handle_slot(const struct thread_handles *h, uintptr_t handle)
{
	return (size_t)((uint64_t)handle * 0x9e3779b97f4a7c15u >> 32) & h->mask;
}

/* The record of an ended thread may have the same handle as a living one's: each gets a slot. */
static void keep_handle(struct thread *t, void *arg)
{
	struct thread_handles *h = arg;
	uintptr_t handle = shared_load_relaxed(&t->handle);
	int tid = shared_load_relaxed(&t->tid);
	if (!handle || !tid || h->count > h->mask / 2)
		return;
	size_t i = handle_slot(h, handle);
	while (h->at[i].handle)
		i = (i + 1) & h->mask;
	h->at[i] = (struct thread_handle){handle, tid};
	h->count++;
}

static void count_one(struct thread *t, void *arg)
{
	(void)t;
	++*(size_t *)arg;
}

bool threads_handles(struct region *r, struct thread_handles *h)
{
	size_t count = 0, room = 64;
	threads_each(count_one, &count);
	while (room < 4 * count)
		room *= 2;
	*h = (struct thread_handles){.mask = room - 1, .at = region_alloc(r, room * sizeof *h->at)};
	if (h->at)
		threads_each(keep_handle, h);
	return h->at;
}

int threads_tid_of(const struct thread_handles *h, uintptr_t handle)
{
	for (size_t i = handle_slot(h, handle); handle && h->at[i].handle; i = (i + 1) & h->mask)
		if (h->at[i].handle == handle && !timers_has_ended(house_pid(), h->at[i].tid))
			return h->at[i].tid;
	return 0;
}
