/* stuck.c - which threads wait for a lock, who owns it, and whether that is a ring.
 *
 * Runs in: listener. Reads the program's locks and the threads' records without any lock.
 *
 * Owners: a pthread_mutex_t of glibc keeps the owner's tid in its third word (<bits/struct_mutex.h>: __lock, __count,
 * __owner), of every kind; a pthread_rwlock_t the writer's in its seventh (<bits/struct_rwlock.h>: __cur_writer). Readers are
 * not known to the lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stuck.h"

#include "shim/clock.h"
#include "shim/os.h"
#include "shim/peek.h"
#include "shim/tasks.h"
#include "shim/text.h"
#include "shim/threads.h"

enum {
	MUTEX_OWNER_AT = 8,
	RWLOCK_WRITER_AT = 24,
	WAITS_MOST = 4096,
	TID_LIMIT = 1 << 22, /* the kernel's; larger numbers mark robust mutexes whose owner died */
};

/* Where the owner is kept in a lock of this call; 0: it is no lock. */
static size_t owner_at(unsigned call)
{
	switch (call) {
	case WAIT_pthread_mutex_lock:
	case WAIT_pthread_mutex_timedlock:
	case WAIT_pthread_mutex_clocklock:
	case WAIT_mtx_lock:
	case WAIT_mtx_timedlock: return MUTEX_OWNER_AT;
	case WAIT_pthread_rwlock_rdlock:
	case WAIT_pthread_rwlock_timedrdlock:
	case WAIT_pthread_rwlock_clockrdlock:
	case WAIT_pthread_rwlock_wrlock:
	case WAIT_pthread_rwlock_timedwrlock:
	case WAIT_pthread_rwlock_clockwrlock: return RWLOCK_WRITER_AT;
	default: return 0;
	}
}

/* A wait that ends by itself is no part of a deadlock. */
static bool is_for_ever(unsigned call)
{
	return call == WAIT_pthread_mutex_lock || call == WAIT_mtx_lock || call == WAIT_pthread_rwlock_rdlock ||
	       call == WAIT_pthread_rwlock_wrlock;
}

int stuck_owner(const struct wait *w)
{
	size_t at = owner_at(waits_call(w->state));
	int owner = 0;
	if (!at)
		return -1;
	return peek(w->object + at, &owner, sizeof owner) && owner > 0 && owner < TID_LIMIT ? owner : 0;
}

static bool still_waits(const struct lock_wait *l)
{
	if (__atomic_load_n(&l->source->state, __ATOMIC_ACQUIRE) != l->wait.state)
		return false;
	struct task t = tasks_look(l->tid);
	return t.state == TASK_SLEEPS || (t.state == TASK_BLOCKED && t.nr == SYS_futex);
}

enum { NOBODY = SIZE_MAX };

static size_t find_tid(const struct lock_wait *waits, size_t count, int tid)
{
	for (size_t i = 0; i < count; i++)
		if (waits[i].tid == tid)
			return i;
	return NOBODY;
}

static size_t next_of(const struct lock_wait *waits, size_t count, size_t i)
{
	return is_for_ever(waits_call(waits[i].wait.state)) && waits[i].owner_tid
	           ? find_tid(waits, count, waits[i].owner_tid)
	           : NOBODY;
}

/* From `start` on, does the chain come back to it? Each thread waits for one lock, so a ring is a simple chain. */
static bool is_ring(const struct lock_wait *waits, size_t count, size_t start)
{
	size_t i = start;
	for (size_t steps = 0; steps < count; steps++) {
		i = next_of(waits, count, i);
		if (i == NOBODY || i == start)
			break;
	}
	if (i != start)
		return false;
	do { /* all of it: still the same waits, and the owners were read in between */
		if (!still_waits(&waits[i]) || stuck_owner(&waits[i].wait) != waits[i].owner_tid ||
		    !still_waits(&waits[i]))
			return false;
		i = next_of(waits, count, i);
	} while (i != start);
	do {
		if (!still_waits(&waits[i]))
			return false;
		i = next_of(waits, count, i);
	} while (i != start);
	return true;
}

size_t stuck_find_rings(const struct lock_wait *waits, size_t count, size_t *ring)
{
	size_t rings = 0;
	memset(ring, 0, count * sizeof *ring);
	for (size_t i = 0; i < count; i++) {
		if (ring[i] || next_of(waits, count, i) == NOBODY || !is_ring(waits, count, i))
			continue;
		rings++;
		size_t k = i;
		do {
			ring[k] = rings;
			k = next_of(waits, count, k);
		} while (k != i);
	}
	return rings;
}

/* The index page's question. */

struct gathering {
	struct lock_wait *at;
	size_t count, cap;
};

static void gather(struct thread *t, void *arg)
{
	struct gathering *g = arg;
	struct wait w;
	if (g->count == g->cap || !owner_at(waits_call(__atomic_load_n(&t->wait.state, __ATOMIC_RELAXED))) ||
	    !waits_read(&t->wait, &w))
		return;
	g->at[g->count++] = (struct lock_wait){.tid = t->tid, .source = &t->wait, .wait = w};
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
	line_str(l, waits_name(waits_call(w->wait.state)));
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
		i = next_of(g->at, g->count, i);
		line_thread(&l, r, g->at[i].tid);
		line_str(&l, i == start ? "" : ", which");
	} while (i != start);
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
		g.at[i].owner_tid = stuck_owner(&g.at[i].wait);
	size_t rings = stuck_find_rings(g.at, g.count, ring);
	for (size_t n = 1; n <= rings; n++)
		for (size_t i = 0; i < g.count; i++)
			if (ring[i] == n) {
				tell_ring(&g, i, r, tell, arg);
				break;
			}
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	for (size_t i = 0; i < g.count; i++) {
		uint64_t since = g.at[i].wait.since_ns, ns = since && now > since ? now - since : 0;
		if (!ring[i] && ns >= STUCK_STALLED_NS && still_waits(&g.at[i]))
			tell_stalled(&g.at[i], ns, r, tell, arg);
	}
}
