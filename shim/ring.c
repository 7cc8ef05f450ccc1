/* ring.c - samples on their way from signal handlers to the listener.
 *
 * Runs in: signal handler (ring_begin, ring_commit), listener.
 * Shared: `head` counts the places given out, `tail` those taken back; a place belongs to the handler that got its
 * number until it writes that number plus one to sample.ready (release), then to the listener (acquire) until it
 * moves tail (release). Numbers never start again, so a handler that comes late to an emptied ring does no harm: its
 * place is passed over by number. The memory is never unmapped.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/ring.h"

#include "shim/arena.h"
#include "shim/os.h"

enum { RING_BYTES = 2 << 20, PLACES_MOST = 4096, PLACES_LEAST = 64 };

static struct {
	char *memory; /* places * sample_bytes() */
	uint32_t places; /* a power of two */
	uint32_t head;   /* atomic */
	uint32_t tail;   /* atomic */
	uint64_t lost;   /* atomic */
} ring;

static struct sample *place(uint32_t number)
{
	return (struct sample *)(void *)(ring.memory + (size_t)(number & (ring.places - 1)) * sample_bytes());
}

int ring_start(void)
{
	uint32_t places = PLACES_MOST;
	while (places > PLACES_LEAST && places * sample_bytes() > RING_BYTES)
		places /= 2;
	for (; !ring.memory && places >= PLACES_LEAST; places /= 2) { /* less, where the cap is low */
		ring.places = places;
		ring.memory = arena_alloc(places * sample_bytes());
	}
	if (!ring.memory)
		return -ENOMEM;
	ring_empty();
	__atomic_store_n(&ring.lost, 0, __ATOMIC_RELAXED);
	return 0;
}

void ring_empty(void)
{
	while (ring.tail != __atomic_load_n(&ring.head, __ATOMIC_RELAXED)) {
		if (ring_front())
			sample_drop(ring_front());
		ring_next();
	}
}

uint64_t ring_places(void)
{
	return ring.places;
}

struct sample *ring_begin(uint32_t *number)
{
	uint32_t head = __atomic_load_n(&ring.head, __ATOMIC_RELAXED);
	do {
		if (head - __atomic_load_n(&ring.tail, __ATOMIC_ACQUIRE) >= ring.places) {
			__atomic_fetch_add(&ring.lost, 1, __ATOMIC_RELAXED);
			return NULL;
		}
	} while (!__atomic_compare_exchange_n(&ring.head, &head, head + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	*number = head;
	return place(head);
}

/* A handler that was stopped for so long that its place went to another one says nothing more. */
void ring_commit(struct sample *s, uint32_t number)
{
	uint32_t before = __atomic_load_n(&s->ready, __ATOMIC_RELAXED);
	while ((int32_t)(number + 1 - before) > 0)
		if (__atomic_compare_exchange_n(&s->ready, &before, number + 1, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			break;
}

struct sample *ring_front(void)
{
	uint32_t tail = ring.tail;
	struct sample *s = ring.memory ? place(tail) : NULL;
	return s && __atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) == tail + 1 ? s : NULL;
}

void ring_next(void)
{
	__atomic_store_n(&ring.tail, ring.tail + 1, __ATOMIC_RELEASE);
}

bool ring_skip(void)
{
	if (ring.tail == __atomic_load_n(&ring.head, __ATOMIC_RELAXED) || ring_front())
		return false;
	__atomic_fetch_add(&ring.lost, 1, __ATOMIC_RELAXED);
	ring_next();
	return true;
}

uint64_t ring_lost(void)
{
	return __atomic_load_n(&ring.lost, __ATOMIC_RELAXED);
}
