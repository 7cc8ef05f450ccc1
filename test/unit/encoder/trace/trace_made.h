/* trace_made.h - trace snapshots made by hand and at random, for the tests of what is written from them.
 *
 * Runs in: the tests' processes. Stubs: the list of modules, the names of calls and categories.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TRACE_MADE_H
#define TEST_TRACE_MADE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/out.h"
#include "shim/snapshot.h"

#define MS 1000000ull
#define BEGIN_NS (5000 * MS)

struct module_list snapshot_modules(void)
{
	return (struct module_list){0};
}

const char *trace_call_name(unsigned call)
{
	static const char *const names[] = {
		"pthread_mutex_lock", "pthread_cond_wait", "recv", "epoll_wait", "nanosleep", "read", "sem_wait"};
	return call < 7 ? names[call] : NULL;
}

const char *trace_log_category(unsigned category)
{
	return category ? NULL : "dlopen";
}

struct made {
	struct trace_snapshot snapshot;
	struct trace_chunk chunks[32];
	struct trace_thread threads[64];
	struct stack *stacks[6];
};

static struct trace_event *made_add(struct made *m, struct trace_event e)
{
	struct trace_chunk *c = &m->chunks[m->snapshot.chunk_count ? m->snapshot.chunk_count - 1 : 0];
	if (!m->snapshot.chunk_count || shared_own(&c->count) == 31)
		c = &m->chunks[m->snapshot.chunk_count++];
	m->snapshot.chunks = m->chunks;
	uint32_t at = shared_add_relaxed(&c->count, 1);
	c->at[at] = e;
	return &c->at[at];
}

static void made_add_thread(struct made *m, struct trace_thread t)
{
	m->threads[m->snapshot.thread_count++] = t;
	m->snapshot.threads = m->threads;
}

/* From 0x100000 on, or from an address at random. */
static struct stack *made_stack(size_t depth, uintptr_t from)
{
	struct stack *s = calloc(1, sizeof *s + depth * sizeof *s->pc);
	s->depth = (uint16_t)depth;
	for (size_t i = 0; i < depth; i++)
		s->pc[i] = from + i * 16;
	return s;
}

static struct made *made_new(uint64_t length_ns)
{
	struct made *m = calloc(1, sizeof *m);
	m->snapshot.begin_ns = BEGIN_NS;
	m->snapshot.end_ns = BEGIN_NS + length_ns;
	for (size_t i = 0; i < 6; i++)
		m->stacks[i] = made_stack(i + 2, 0x100000 + i * 0x1000);
	return m;
}

static void made_free(struct made *m)
{
	for (size_t i = 0; i < 6; i++)
		free(m->stacks[i]);
	free(m);
}

static uint64_t made_seed;

static unsigned below(uint64_t n)
{
	made_seed = made_seed * 6364136223846793005u + 1442695040888963407u;
	return n ? (unsigned)((made_seed >> 33) % n) : 0;
}

static void made_add_random(struct made *m, unsigned threads, unsigned length)
{
	uint64_t begin = m->snapshot.begin_ns;
	uint64_t start = begin + below(length + length / 4 + 1) - (below(10) ? 0 : below(begin < 50 ? begin + 1 : 50)),
		 spent = below(3) ? below(1 + length / 8) : below(length);
	struct trace_event e = {.start_ns = below(40) ? start : 0,
	                        .end_ns = below(30) ? start + spent : UINT64_MAX,
	                        .stack = below(8) ? m->stacks[below(6)] : NULL,
	                        .tid = (int)(1 + below(threads + below(2))),
	                        .kind = (uint8_t)(below(3) ? below(6) : below(12)),
	                        .call = (uint8_t)below(9),
	                        .category = (uint8_t)below(3)};
	if (!below(20))
		e.end_ns = start - below(3);
	if (e.kind < TRACE_WAITS) {
		e.object = below(2) ? below(99999) : 0;
		e.woken_ns = !below(2) ? 0 : below(4) ? e.start_ns + below(spent + 2) : begin + below(length * 2u);
		e.woken_by = below(4) ? m->stacks[below(6)] : NULL;
		e.other_tid = (int)below(threads + 2);
	} else if (e.kind == TRACE_BORN) {
		e.created_ns = below(3) ? start - below(start < 20 ? start + 1 : 20) : below(2) * start;
		e.creator_tid = (int)below(threads + 2);
	} else if (e.kind == TRACE_HEAP) {
		e.bytes = (int64_t)below(1000000) - 500000;
	} else {
		for (size_t i = 0; i < sizeof e.text; i++)
			e.text[i] = (char)below(below(20) ? 256 : 1);
	}
	made_add(m, e);
}

/* Anything that the types allow. */
static struct made *made_random(uint64_t seed)
{
	static const char *const names[] = {"a", "", "w\xc3\xb6rk\xff", "x\ny"};
	static const char *comments[] = {"the buffer was full", "c\xff\n"};
	made_seed = seed * 977 + 1;
	for (int i = 0; i < 10; i++)
		below(2);
	unsigned threads = 1 + below(below(4) ? 6 : 60), events = below(below(4) ? 60 : 600),
		 length = below(3) ? 1 + below(100) : 1 + below(1000000);
	struct made *m = made_new(length);
	m->snapshot.begin_ns = below(4) ? BEGIN_NS : below(3);
	m->snapshot.end_ns = below(40) ? m->snapshot.begin_ns + length : m->snapshot.begin_ns - 1;
	m->snapshot.in_use_bytes = below(1000000);
	for (size_t i = 0; i < 6; i++) {
		free(m->stacks[i]);
		m->stacks[i] = made_stack(below(below(5) ? 40 : 600),
		                          below(2) ? below(100000) : 0x7f0000000000 + below(100000));
	}
	for (unsigned i = 0; i < threads; i++)
		if (below(5))
			made_add_thread(m, (struct trace_thread){(int)i + 1 - (below(30) ? 0 : 5), names[below(4)],
			                                         below(2), below(2), !below(4)});
	for (unsigned i = 0; i < events; i++)
		made_add_random(m, threads, length);
	m->snapshot.comments = comments;
	m->snapshot.comment_count = below(3);
	return m;
}

/* What was written, in one piece. */
static inline uint8_t *made_join(const struct out *o)
{
	uint8_t *all = malloc(o->len + 1);
	size_t at = 0;
	for (const struct out_chunk *c = o->first; c; at += c->used, c = c->next)
		memcpy(all + at, c->bytes, c->used);
	return all;
}

#endif
