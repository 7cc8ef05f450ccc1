/* deadlock.c - which threads wait for a lock, which thread owns it, and whether they form a ring.
 *
 * Runs in: listener. Reads the program's locks and the threads' records without any lock.
 *
 * Owners: a mutex of any kind keeps its owner's tid; a rwlock keeps its writer's (libc/locks.h), but not its readers'.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/deadlock.h"

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/libc/locks.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/peek.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/threads/threads.h"

enum {
	WAITS_MOST = 4096,
};

int deadlock_owner(const struct wait *w)
{
	size_t at = waits_lock(waits_call(shared_own(&w->state))).owner_at;
	int owner = 0;
	if (!at)
		return -1;
	return peek(w->object + at, &owner, sizeof owner) && owner > 0 && owner < LOCKS_TID_LIMIT ? owner : 0;
}

static bool still_waits(const struct lock_wait *l)
{
	if (shared_load_acquire(&l->source->state) != shared_own(&l->wait.state))
		return false;
	struct task t = tasks_look(l->tid);
	return t.state == TASK_SLEEPS || (t.state == TASK_BLOCKED && t.nr == SYS_futex);
}

enum { NOBODY = SIZE_MAX };

/* Open addressing: each tid is there once, with its index. */
struct tid_table {
	size_t mask;
	size_t *slot; /* index plus one; 0: free */
};

static size_t *slot_of(const struct tid_table *t, const struct lock_wait *waits, int tid)
{
	size_t i = (uint32_t)tid * 0x9e3779b9u & t->mask;
	while (t->slot[i] && waits[t->slot[i] - 1].tid != tid)
		i = (i + 1) & t->mask;
	return &t->slot[i];
}

static bool make_table(struct tid_table *t, struct region *r, const struct lock_wait *waits, size_t count)
{
	t->mask = 1;
	while (t->mask < 2 * count)
		t->mask = 2 * t->mask + 1;
	t->slot = region_alloc(r, (t->mask + 1) * sizeof *t->slot);
	for (size_t i = 0; t->slot && i < count; i++) {
		size_t *slot = slot_of(t, waits, waits[i].tid);
		*slot = *slot ? *slot : i + 1;
	}
	return t->slot;
}

/* Each thread waits for one lock, so each entry leads to one other, or to none. */
static void link_waits(struct lock_wait *waits, size_t count, const struct tid_table *t)
{
	for (size_t i = 0; i < count; i++) {
		const struct lock_wait *w = &waits[i];
		bool leads_on = w->owner_tid && waits_lock(waits_call(shared_own(&w->wait.state))).for_ever;
		waits[i].next = leads_on ? *slot_of(t, waits, w->owner_tid) - 1 : NOBODY; /* 0 - 1: nobody */
	}
}

/* Does the whole ring hold still? The waits must be the same, before and after the owners were read. */
static bool holds_still(const struct lock_wait *waits, size_t start)
{
	size_t i = start;
	do {
		pace();
		if (!still_waits(&waits[i]) || deadlock_owner(&waits[i].wait) != waits[i].owner_tid ||
		    !still_waits(&waits[i]))
			return false;
		i = waits[i].next;
	} while (i != start);
	do {
		pace();
		if (!still_waits(&waits[i]))
			return false;
		i = waits[i].next;
	} while (i != start);
	return true;
}

/* Follows the chain from `start` until it meets an entry that a walk was at before; so each entry is visited once in
 * all. Returns a member of a ring that is new, or NOBODY. met: the number of that walk plus one. */
static size_t walk(const struct lock_wait *waits, size_t start, size_t *met)
{
	size_t i = start;
	for (; i != NOBODY && !met[i]; i = waits[i].next)
		met[i] = start + 1;
	return i != NOBODY && met[i] == start + 1 ? i : NOBODY;
}

/* Numbers rings in the order of their first members. map: as many zeros as there are waits. */
static void renumber(size_t *ring, size_t count, size_t *map)
{
	size_t last = 0;
	for (size_t i = 0; i < count; i++) {
		if (ring[i] && !map[ring[i] - 1])
			map[ring[i] - 1] = ++last;
		ring[i] = ring[i] ? map[ring[i] - 1] : 0;
	}
}

size_t deadlock_find_rings(struct region *r, struct lock_wait *waits, size_t count, size_t *ring)
{
	struct tid_table t;
	size_t rings = 0, *met = region_alloc(r, count * sizeof *met + 1);
	memset(ring, 0, count * sizeof *ring);
	if (!met || !make_table(&t, r, waits, count))
		return 0;
	link_waits(waits, count, &t);
	for (size_t i = 0; i < count; i++) {
		size_t k = met[i] ? NOBODY : walk(waits, i, met);
		if (k == NOBODY || !holds_still(waits, k))
			continue;
		rings++;
		for (; !ring[k]; k = waits[k].next)
			ring[k] = rings;
	}
	memset(met, 0, count * sizeof *met);
	renumber(ring, count, met);
	return rings;
}

/* For the index page. */

struct gathering {
	struct lock_wait *at;
	size_t count, cap;
};

static void gather(struct thread *t, void *arg)
{
	struct gathering *g = arg;
	struct wait w;
	if (g->count == g->cap || !waits_lock(waits_call(shared_load_relaxed(&t->wait.state))).owner_at ||
	    !waits_read(&t->wait, &w))
		return;
	g->at[g->count++] = (struct lock_wait){.tid = shared_load_relaxed(&t->tid), .source = &t->wait, .wait = w};
}

static void line_thread(struct line *l, struct region *r, int tid)
{
	const char *name = tasks_name(r, tid);
	line_str(l, "thread ");
	line_dec(l, tid);
	if (name) {
		line_str(l, " (");
		line_str(l, name);
		line_str(l, ")");
	}
}

static void line_wait(struct line *l, const struct lock_wait *w)
{
	line_str(l, waits_name(waits_call(shared_own(&w->wait.state))));
	line_str(l, " 0x");
	line_hex(l, w->wait.object);
}

static void tell_ring(const struct gathering *g, size_t start, struct region *r, void (*tell)(void *, const char *),
                      void *arg)
{
	char text[1024];
	struct line l = LINE(text);
	size_t i = start;
	line_str(&l, "DEADLOCK: ");
	line_thread(&l, r, g->at[i].tid);
	do {
		line_str(&l, " waits in ");
		line_wait(&l, &g->at[i]);
		line_str(&l, " for ");
		i = g->at[i].next;
		line_thread(&l, r, g->at[i].tid);
		line_str(&l, i == start ? "" : ", which");
	} while (i != start && l.len < sizeof text - 1);
	tell(arg, l.at);
}

static void tell_stalled(const struct lock_wait *w, uint64_t ns, struct region *r, void (*tell)(void *, const char *),
                         void *arg)
{
	char text[256];
	struct line l = LINE(text);
	line_str(&l, "STALLED: ");
	line_thread(&l, r, w->tid);
	line_str(&l, " has been waiting for ");
	line_dec(&l, (int64_t)(ns / 1000000000u));
	line_str(&l, " seconds in ");
	line_wait(&l, w);
	if (w->owner_tid) {
		line_str(&l, ", held by ");
		line_thread(&l, r, w->owner_tid);
	}
	tell(arg, l.at);
}

void snapshot_stuck(struct region *r, void (*tell)(void *arg, const char *line), void *arg)
{
	struct gathering g = {.at = region_alloc(r, WAITS_MOST * sizeof *g.at), .cap = WAITS_MOST};
	size_t *ring = region_alloc(r, WAITS_MOST * sizeof *ring);
	if (!g.at || !ring)
		return;
	threads_each(gather, &g);
	for (size_t i = 0; i < g.count; i++)
		g.at[i].owner_tid = deadlock_owner(&g.at[i].wait);
	deadlock_find_rings(r, g.at, g.count, ring);
	for (size_t i = 0, told = 0; i < g.count; i++)
		if (ring[i] > told) { /* the first member; rings are numbered in the order of these */
			told = ring[i];
			tell_ring(&g, i, r, tell, arg);
		}
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	for (size_t i = 0; i < g.count && !pace(); i++) {
		uint64_t since = g.at[i].wait.since_ns, ns = since && now > since ? now - since : 0;
		if (!ring[i] && ns >= STUCK_STALLED_NS && still_waits(&g.at[i]))
			tell_stalled(&g.at[i], ns, r, tell, arg);
	}
}
