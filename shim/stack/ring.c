/* ring.c - samples on their way from signal handlers to the listener.
 *
 * Runs in: signal handler (ring_begin, ring_commit), listener.
 * Shared: `head` counts the places given out, `tail` those taken back. A place belongs to the handler that got its
 * number, until the handler writes that number plus one to sample.ready (release). Then it belongs to the listener
 * (acquire), until that moves tail (release). Numbers never start again. A handler may be stopped for so long that the
 * listener passes it over. It still writes, so its place stays its own until it is done (sample.begun and sample.ready
 * are equal). A handler that gets a number of that place meanwhile leaves the place, and notes that in sample.left. The
 * memory is never unmapped.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/ring.h"

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum { PLACES_MOST = 4096, PLACES_LEAST = 64 };

static struct {
	char *memory;    /* places * sample_bytes() */
	uint32_t places; /* a power of two */
	shared_u32 head;
	shared_u32 tail;
	shared_u64 lost;
	bool has_late; /* some places were passed over: their writers may be gone, or late */
} ring;

static struct sample *place(uint32_t number)
{
	return (struct sample *)(void *)(ring.memory + (size_t)(number & (ring.places - 1)) * sample_bytes());
}

int ring_start(void)
{
	uint32_t places = PLACES_MOST;
	while (places > PLACES_LEAST &&
	       places * sample_bytes() > arena_rings_bytes() / 2) /* copies (sample.c) share the memory */
		places /= 2;
	for (; !ring.memory && places >= PLACES_LEAST; places /= 2) { /* less, where the cap is low */
		ring.places = places;
		ring.memory = arena_alloc_in(ARENA_RINGS, places * sample_bytes());
	}
	if (!ring.memory)
		return -ENOMEM;
	ring_empty();
	shared_store_relaxed(&ring.lost, 0);
	return 0;
}

void ring_next(void)
{
	shared_store_release(&ring.tail, shared_own(&ring.tail) + 1);
}

struct sample *ring_front(void)
{
	for (; ring.memory; ring_next()) {
		struct sample *s = place(shared_own(&ring.tail));
		if (shared_load_acquire(&s->ready) == shared_own(&ring.tail) + 1)
			return s;
		if (shared_load_acquire(&s->left) != shared_own(&ring.tail) + 1)
			return NULL;
	}
	return NULL;
}

/* Pass over the oldest place, which was begun and is not complete.
 * Returns false if there is none. */
static bool pass_over(void)
{
	if (shared_own(&ring.tail) == shared_load_relaxed(&ring.head))
		return false;
	ring.has_late = true;
	ring_next();
	return true;
}

void ring_empty(void)
{
	do {
		for (struct sample *s; (s = ring_front()); ring_next())
			sample_drop(s);
	} while (pass_over());
}

void ring_forget_late(void)
{
	for (uint32_t i = 0; ring.has_late && ring.memory && i < ring.places; i++)
		shared_set_own(&place(i)->begun, shared_own(&place(i)->ready));
	ring.has_late = false;
}

FORKED_CODE void ring_fork_child(void)
{
	if (ring.memory) /* without a ring its page is not written, and need not be copied */
		ring.has_late = true;
}

uint64_t ring_places(void)
{
	return ring.places;
}

static bool take_number(uint32_t *number)
{
	uint32_t head = shared_load_relaxed(&ring.head);
	do {
		if (head - shared_load_acquire(&ring.tail) >= ring.places)
			return false;
	} while (!shared_cas_acquire(&ring.head, &head, head + 1));
	*number = head;
	return true;
}

/* Take the place, if nobody else writes to it and no later number has used it. */
static bool own_place(struct sample *s, uint32_t number)
{
	uint32_t begun = shared_load_acquire(&s->begun);
	return begun == shared_load_acquire(&s->ready) && (int32_t)(number + 1 - begun) > 0 &&
	       shared_cas_acquire(&s->begun, &begun, number + 1);
}

static void leave_place(struct sample *s, uint32_t number)
{
	uint32_t left = shared_load_relaxed(&s->left);
	while ((int32_t)(number + 1 - left) > 0 && !shared_cas_release(&s->left, &left, number + 1))
		continue;
}

struct sample *ring_begin(uint32_t *number)
{
	while (take_number(number)) {
		struct sample *s = place(*number);
		if (own_place(s, *number))
			return s;
		leave_place(s, *number);
	}
	shared_add_relaxed(&ring.lost, 1);
	return NULL;
}

void ring_commit(struct sample *s, uint32_t number)
{
	shared_store_release(&s->ready, number + 1);
}

bool ring_skip(void)
{
	if (ring_front() || !pass_over())
		return false;
	shared_add_relaxed(&ring.lost, 1);
	return true;
}

uint64_t ring_lost(void)
{
	return shared_load_relaxed(&ring.lost);
}
