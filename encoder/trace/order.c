/* order.c - turn events as they came, of many threads mixed, into lives.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/order.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/sort.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

enum { NAME_MAX_BYTES = 255 };
#define LENGTH_MAX_NS (UINT64_C(1) << 60) /* readers count in 63 bits */

/* A thread as the snapshot lists it, or, if only events name it, as they describe it. */
struct thread {
	struct trace_thread is;
	size_t events; /* number of its events in `sorted` */
};

struct making {
	struct trace_order *order;
	struct region *region;
	const struct trace_snapshot *snapshot;
	struct intern tids; /* number n is thread n */
	struct thread *threads;
	const struct trace_event **sorted; /* by thread, then by time */
	size_t event_count, wait_count;
	struct trace_item *next_wait, *next_point; /* free places */
	struct trace_life *life;                   /* the one at work; NULL: none yet */
	uint64_t last_ns;                          /* time of its last event */
	size_t signs;                              /* number of its events */
};

/* ---- events of the trace, by thread ---- */

static bool is_wait(const struct trace_event *e)
{
	return e->kind < TRACE_WAITS;
}

static bool is_of_the_trace(const struct trace_order *o, const struct trace_event *e)
{
	if (is_wait(e))
		return e->start_ns < o->end_ns && e->end_ns > o->begin_ns;
	return e->kind <= TRACE_LOG && e->start_ns >= o->begin_ns && e->start_ns <= o->end_ns;
}

/* Returns the next event that lies in the trace, or NULL. */
static const struct trace_event *next_event(const struct making *m, size_t *chunk, size_t *at)
{
	for (; *chunk < m->snapshot->chunk_count; ++*chunk, *at = 0, pace()) {
		const struct trace_chunk *c = &m->snapshot->chunks[*chunk];
		while (*at < trace_chunk_count(c) && *at < sizeof c->at / sizeof *c->at) {
			const struct trace_event *e = &c->at[(*at)++];
			if (is_of_the_trace(m->order, e))
				return e;
		}
	}
	return NULL;
}

/* Returns -1 if there is no memory. */
static int64_t thread_number(struct making *m, const int32_t *tid)
{
	bool is_new;
	return intern(&m->tids, m->region, (struct span){(const char *)tid, sizeof *tid}, &is_new);
}

static int find_threads(struct making *m)
{
	const struct trace_snapshot *s = m->snapshot;
	for (size_t i = 0; i < s->thread_count; i++)
		if (thread_number(m, &s->threads[i].tid) < 0)
			return -ENOMEM;
	size_t chunk = 0, at = 0;
	for (const struct trace_event *e; (e = next_event(m, &chunk, &at)); m->event_count++) {
		if (thread_number(m, &e->tid) < 0)
			return -ENOMEM;
		m->wait_count += is_wait(e);
	}
	m->threads = region_alloc(m->region, m->tids.count * sizeof *m->threads + 1);
	return m->threads ? 0 : -ENOMEM;
}

static void learn_thread(struct making *m, const struct trace_thread *t)
{
	struct trace_thread *is = &m->threads[thread_number(m, &t->tid)].is;
	bool was_there = is->was_there, was_blocked = is->was_blocked;
	*is = *t; /* the later entry has the current name */
	is->was_there |= was_there;
	is->was_blocked |= was_blocked;
}

static int rank(const struct trace_event *e)
{
	return e->kind == TRACE_BORN ? 0 : e->kind == TRACE_ENDED ? 2 : 1;
}

static bool event_before(const void *first, const void *second)
{
	const struct trace_event *a = *(const struct trace_event *const *)first,
				 *b = *(const struct trace_event *const *)second;
	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns;
	if (rank(a) != rank(b))
		return rank(a) < rank(b);
	return a->end_ns > b->end_ns; /* the outer wait first */
}

/* Put the events of each thread next to each other, in the order of threads, and sort them; they nearly are sorted. */
static int sort_events(struct making *m)
{
	size_t count = m->tids.count, chunk = 0, at = 0, from = 0;
	size_t *place = region_alloc(m->region, count * sizeof *place + 1);
	m->sorted = region_alloc(m->region, m->event_count * sizeof *m->sorted + 1);
	if (!place || !m->sorted)
		return -ENOMEM;
	for (const struct trace_event *e; (e = next_event(m, &chunk, &at));) {
		struct thread *t = &m->threads[thread_number(m, &e->tid)];
		t->is.tid = e->tid;
		t->events++;
	}
	for (size_t i = 0; i < count; from += m->threads[i++].events)
		place[i] = from;
	chunk = at = 0;
	for (const struct trace_event *e; (e = next_event(m, &chunk, &at));)
		m->sorted[place[thread_number(m, &e->tid)]++] = e;
	for (size_t i = 0; i < count; i++)
		sort_items(m->sorted + place[i] - m->threads[i].events, m->threads[i].events, sizeof *m->sorted,
		           event_before);
	return 0;
}

/* ---- lives ---- */

static struct trace_item *last_wait(const struct making *m)
{
	struct trace_life *l = m->life;
	return l->wait_count ? &l->waits[l->wait_count - 1] : NULL;
}

static void drop_wait(struct making *m)
{
	m->life->wait_count--;
	m->next_wait--;
}

static void add_item(struct trace_item **next, size_t *count, const struct trace_event *e, uint64_t start_ns,
                     uint64_t end_ns)
{
	*(*next)++ = (struct trace_item){e, start_ns, end_ns};
	++*count;
}

static void see(struct making *m, uint64_t ns)
{
	if (ns > m->last_ns)
		m->last_ns = ns;
	m->signs++;
}

static void begin_life(struct making *m, const struct trace_thread *t, uint64_t start_ns)
{
	m->life = &m->order->lives[m->order->count++];
	*m->life = (struct trace_life){
		.tid = t->tid, .name = t->name, .start_ns = start_ns, .waits = m->next_wait, .points = m->next_point};
	m->last_ns = start_ns;
	m->signs = 0;
}

/* Begin the life of a thread that was there at first. If it was blocked, the end of its wait may tell in what. */
static void begin_old_life(struct making *m, const struct trace_thread *t)
{
	begin_life(m, t, m->order->begin_ns);
	m->life->was_there = true;
	if (t->was_blocked)
		add_item(&m->next_wait, &m->life->wait_count, NULL, m->life->start_ns, TRACE_LASTS);
}

/* Any event of the thread ends the wait that no event describes. */
static void end_unknown_wait(struct making *m, uint64_t ns)
{
	struct trace_item *w = last_wait(m);
	if (!w || w->event || w->end_ns != TRACE_LASTS)
		return;
	w->end_ns = ns;
	if (ns <= w->start_ns)
		drop_wait(m);
}

/* End the life, at limit_ns at the latest. */
static void end_life(struct making *m, uint64_t limit_ns)
{
	struct trace_life *l = m->life;
	uint64_t end = m->signs ? m->last_ns : limit_ns;
	l->has_ended = true;
	l->end_ns = end < limit_ns ? end : limit_ns;
	while (l->wait_count && last_wait(m)->start_ns > l->end_ns)
		drop_wait(m);
	if (l->wait_count && last_wait(m)->end_ns > l->end_ns)
		last_wait(m)->end_ns = l->end_ns;
}

/* Does this birth belong to the life at work? A thread may have events before that of its birth, and may be in the list
 * of threads that was made when the trace began. */
static bool awaits_birth(const struct making *m)
{
	return m->life && !m->life->born && !m->life->has_ended && (!m->life->was_there || !m->signs);
}

static void add_birth(struct making *m, const struct trace_thread *t, const struct trace_event *e)
{
	if (!awaits_birth(m)) {
		if (m->life)
			end_life(m, e->start_ns);
		begin_life(m, t, e->start_ns);
	} else if (m->life->was_there) {
		end_unknown_wait(m, 0);
		m->life->was_there = false;
		m->life->start_ns = m->last_ns = e->start_ns;
	}
	m->life->born = e;
	see(m, e->start_ns);
}

static void add_wait(struct making *m, const struct trace_event *e)
{
	struct trace_life *l = m->life;
	uint64_t start = e->start_ns > l->start_ns ? e->start_ns : l->start_ns;
	uint64_t end = e->end_ns > m->order->end_ns ? TRACE_LASTS : e->end_ns > start ? e->end_ns : start;
	end_unknown_wait(m, start);
	const struct trace_item *before = last_wait(m);
	if (before && start < before->end_ns) {
		start = before->end_ns;
		if (end <= start)
			return;
	}
	add_item(&m->next_wait, &l->wait_count, e, start, end);
	see(m, end == TRACE_LASTS ? start : end);
}

static void add_point(struct making *m, const struct trace_event *e)
{
	uint64_t ns = e->start_ns > m->life->start_ns ? e->start_ns : m->life->start_ns;
	end_unknown_wait(m, ns);
	add_item(&m->next_point, &m->life->point_count, e, ns, ns);
	see(m, ns);
}

static void add_end(struct making *m, const struct trace_event *e)
{
	end_unknown_wait(m, e->start_ns);
	m->life->has_ended = true;
	see(m, e->start_ns);
}

static void add_event(struct making *m, const struct trace_thread *t, const struct trace_event *e)
{
	if (e->kind == TRACE_BORN) {
		add_birth(m, t, e);
		return;
	}
	if (!m->life)
		begin_life(m, t, e->start_ns > m->order->begin_ns ? e->start_ns : m->order->begin_ns);
	if (is_wait(e))
		add_wait(m, e);
	else if (e->kind == TRACE_ENDED)
		add_end(m, e);
	else
		add_point(m, e);
}

/* A thread whose end was not seen ends with its last event; a wait whose end was not seen lasts to the trace's end. */
static void end_last_life(struct making *m, const struct trace_thread *t)
{
	struct trace_life *l = m->life;
	bool in_wait = l->wait_count && last_wait(m)->end_ns == TRACE_LASTS;
	l->end_ns = m->order->end_ns;
	if (!l->has_ended && !t->has_ended)
		return;
	if (!l->has_ended && in_wait)
		see(m, l->end_ns);
	end_life(m, m->order->end_ns);
}

static void make_lives(struct making *m, const struct thread *t, const struct trace_event *const *events)
{
	m->life = NULL;
	if (t->is.was_there)
		begin_old_life(m, &t->is);
	for (size_t i = 0; i < t->events; i++)
		add_event(m, &t->is, events[i]);
	if (!m->life) /* it has no events, and was first seen at the end */
		begin_life(m, &t->is, m->order->end_ns);
	end_last_life(m, &t->is);
}

/* There is at most one life for each thread and each birth. Each thread may have one wait that no event describes. */
static int make_room(struct making *m)
{
	struct trace_order *o = m->order;
	size_t most = m->tids.count;
	for (size_t i = 0; i < m->event_count; i++)
		most += m->sorted[i]->kind == TRACE_BORN;
	o->lives = region_alloc(m->region, most * sizeof *o->lives + 1);
	o->tids = region_alloc(m->region, m->tids.count * sizeof *o->tids + 1);
	m->next_wait = region_alloc(m->region, (m->wait_count + m->tids.count) * sizeof *m->next_wait + 1);
	m->next_point = region_alloc(m->region, (m->event_count - m->wait_count) * sizeof *m->next_point + 1);
	return o->lives && o->tids && m->next_wait && m->next_point ? 0 : -ENOMEM;
}

static int name_thread(struct making *m, struct thread *t)
{
	struct span name = t->is.name && t->is.name[0] ? span_of(t->is.name) : SPAN("thread");
	if (name.len > NAME_MAX_BYTES)
		name.len = NAME_MAX_BYTES;
	t->is.name = utf8_line(m->region, name);
	return t->is.name ? 0 : -ENOMEM;
}

static bool tid_before(const void *first, const void *second)
{
	const struct trace_tid *a = first, *b = second;
	return a->tid < b->tid;
}

int trace_order_make(struct trace_order *o, struct region *r, const struct trace_snapshot *s)
{
	struct making m = {.order = o, .region = r, .snapshot = s};
	size_t from = 0;
	uint64_t length_ns = s->end_ns > s->begin_ns ? s->end_ns - s->begin_ns : 0;
	if (length_ns > LENGTH_MAX_NS)
		length_ns = LENGTH_MAX_NS;
	*o = (struct trace_order){.begin_ns = s->begin_ns, .end_ns = s->begin_ns + length_ns};
	if (find_threads(&m) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < s->thread_count; i++)
		learn_thread(&m, &s->threads[i]);
	if (sort_events(&m) < 0 || make_room(&m) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < m.tids.count; from += m.threads[i++].events) {
		size_t first = o->count;
		if (name_thread(&m, &m.threads[i]) < 0)
			return -ENOMEM;
		make_lives(&m, &m.threads[i], m.sorted + from);
		pace();
		o->tids[o->tid_count++] = (struct trace_tid){m.threads[i].is.tid, first, o->count - first};
	}
	sort_items(o->tids, o->tid_count, sizeof *o->tids, tid_before);
	return 0;
}

/* ---- questions ---- */

static const struct trace_tid *find_tid(const struct trace_order *o, int tid)
{
	size_t low = 0, high = o->tid_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (o->tids[middle].tid < tid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < o->tid_count && o->tids[low].tid == tid ? &o->tids[low] : NULL;
}

const struct trace_life *trace_order_alive(const struct trace_order *o, int tid, uint64_t ns)
{
	const struct trace_tid *t = find_tid(o, tid);
	for (size_t i = t ? t->count : 0; i-- > 0;) {
		const struct trace_life *l = &o->lives[t->first + i];
		if (l->start_ns < ns)
			return ns <= l->end_ns ? l : NULL;
	}
	return NULL;
}

const struct trace_item *trace_life_next_wait(const struct trace_life *l, uint64_t ns)
{
	size_t low = 0, high = l->wait_count; /* waits before `low` begin before ns; those from `high` on do not */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (l->waits[middle].start_ns < ns)
			low = middle + 1;
		else
			high = middle;
	}
	return l->waits + low;
}

const struct trace_life *trace_order_at_work(const struct trace_order *o, int tid, uint64_t ns)
{
	const struct trace_life *l = trace_order_alive(o, tid, ns);
	const struct trace_item *next = l ? trace_life_next_wait(l, ns) : NULL;
	return l && (next == l->waits || next[-1].end_ns < ns) ? l : NULL;
}

/* ---- the heap ---- */

static bool item_before(const void *first, const void *second)
{
	const struct trace_item *a = *(const struct trace_item *const *)first,
				*b = *(const struct trace_item *const *)second;
	return a->start_ns < b->start_ns;
}

static bool is_heap(const struct trace_item *point)
{
	return point->event->kind == TRACE_HEAP;
}

const struct trace_item **trace_order_heap(const struct trace_order *o, struct region *r, size_t *count)
{
	size_t most = 0;
	*count = 0;
	for (size_t i = 0; i < o->count; i++)
		for (size_t k = 0; k < o->lives[i].point_count; k++)
			most += is_heap(&o->lives[i].points[k]);
	const struct trace_item **heap = region_alloc(r, most * sizeof *heap + 1);
	for (size_t i = 0; heap && i < o->count; i++)
		for (size_t k = 0; k < o->lives[i].point_count; k++)
			if (is_heap(&o->lives[i].points[k]))
				heap[(*count)++] = &o->lives[i].points[k];
	if (heap)
		sort_items(heap, *count, sizeof *heap, item_before);
	return heap;
}

uint64_t trace_heap_after(uint64_t in_use_bytes, const struct trace_event *heap)
{
	uint64_t size = heap->bytes < 0 ? 0 - (uint64_t)heap->bytes : (uint64_t)heap->bytes;
	if (heap->bytes >= 0)
		return in_use_bytes + size;
	return size < in_use_bytes ? in_use_bytes - size : 0;
}
