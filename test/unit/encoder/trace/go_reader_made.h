/* go_reader_made.h - a reader of Go's traces that checks what go tool trace checks.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_GO_READER_MADE_H
#define PPROFSHIM_TEST_GO_READER_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/names/names.h"
#include "encoder/trace/trace.h"
#include "test/unit/encoder/trace/trace_made.h"

enum { EVENTS_MAX = 8192, IDS_MAX = 8192, PS_MAX = 128 };

/* ---- the reader ---- */

struct event {
	uint64_t ts, g, args[5]; /* without the first one */
	unsigned type;
	const uint8_t *text;
	size_t text_len;
};
struct p {
	struct event *at;
	size_t count, next;
	uint64_t g; /* running; 0: none */
	bool runs;
};
enum state { NONE, RUNNABLE, RUNNING, WAITING, DEAD };
struct g {
	uint64_t id, seq, since, stack;
	enum state state;
	unsigned in; /* the event that it waits in; GoUnblock while it is runnable after one of another G */
};
struct file {
	const uint8_t *at, *end;
	struct p ps[PS_MAX];
	struct event samples[EVENTS_MAX];
	size_t sample_count;
	struct g gs[2 * PS_MAX];
	size_t g_count;
	uint64_t frequency, stack_len[IDS_MAX], string_len[IDS_MAX];
	const uint8_t *string[IDS_MAX];
	uint64_t sync_ns, net_ns, syscall_ns, sched_ns, heap; /* totals, as `go tool trace -pprof` counts */
	size_t logs, remote;
	char last_log[300], last_category[40];
};

static inline uint64_t varint(struct file *f)
{
	uint64_t v = 0;
	for (unsigned shift = 0;; shift += 7) {
		assert_true(f->at < f->end && shift < 64);
		v |= (uint64_t)(*f->at & 0x7f) << shift;
		if (*f->at++ < 0x80)
			return v;
	}
}

static inline void read_string(struct file *f)
{
	uint64_t id = varint(f), len = varint(f);
	assert_in_range(id, 1, IDS_MAX - 1);
	assert_in_range(len, 1, 1000000);
	assert_true(!f->string_len[id] && (size_t)(f->end - f->at) >= len);
	f->string[id] = f->at;
	f->string_len[id] = len;
	f->at += len;
}

static inline void read_stack(struct file *f)
{
	uint64_t bytes = varint(f);
	const uint8_t *from = f->at;
	assert_in_range(bytes, 6, 2048);
	uint64_t id = varint(f), count = varint(f);
	assert_in_range(id, 1, IDS_MAX - 1);
	assert_in_range(count, 1, 128);
	assert_int_equal(f->stack_len[id], 0);
	f->stack_len[id] = count;
	for (uint64_t i = 0; i < 4 * count; i++) {
		uint64_t v = varint(f);
		assert_true(i % 4 != 1 || v);
	}
	assert_int_equal(f->at - from, bytes);
}

static inline size_t argument_count(unsigned type)
{
	static const uint8_t counts[64] = {
		[2] = 1,  [4] = 3,  [5] = 2,  [6] = 1,  [13] = 4, [14] = 3, [15] = 1, [18] = 2, [19] = 2,
		[20] = 2, [21] = 4, [24] = 2, [25] = 2, [26] = 2, [27] = 2, [28] = 2, [29] = 4, [30] = 1,
		[31] = 2, [32] = 2, [33] = 2, [38] = 2, [39] = 3, [48] = 4, [49] = 5};
	assert_true(counts[type]);
	return counts[type];
}

/* The G of an event is the one that its P runs, by what the P's events say. */
static inline void add_event(struct file *f, struct p *p, uint64_t ts, struct event e)
{
	e.ts = ts;
	if (e.type == 49) {
		e.ts = e.args[0];
		assert_true(f->sample_count < EVENTS_MAX);
		f->samples[f->sample_count++] = e;
		return;
	}
	if (e.type == 14 || e.type == 38)
		p->g = e.args[0];
	e.g = p->g;
	if (e.type == 15 || e.type == 18 || e.type == 19 || e.type == 20 || (e.type >= 24 && e.type <= 27) ||
	    e.type == 30)
		p->g = 0;
	if (e.type == 29)
		e.g = e.args[0];
	p->at = realloc(p->at, (p->count + 1) * sizeof e);
	p->at[p->count++] = e;
}

static inline void read_events(struct file *f)
{
	struct p *p = NULL;
	uint64_t now = 0;
	while (f->at < f->end) {
		unsigned type = *f->at & 63, shape = *f->at >> 6;
		f->at++;
		if (type == 1) {
			assert_int_equal(shape, 1);
			uint64_t n = varint(f);
			assert_in_range(n, 0, PS_MAX - 1);
			p = &f->ps[n];
			now = varint(f);
			continue;
		}
		assert_non_null(p);
		if (type == 37) {
			assert_int_equal(shape, 0);
			read_string(f);
		} else if (type == 3) {
			assert_int_equal(shape, 3);
			read_stack(f);
		} else {
			size_t count = argument_count(type);
			uint64_t bytes = 0, args[5] = {0};
			assert_int_equal(shape, count < 4 ? count - 1 : 3);
			bytes = count < 4 ? 0 : varint(f);
			const uint8_t *from = f->at;
			for (size_t i = 0; i < count; i++)
				args[i] = varint(f);
			assert_true(count < 4 || f->at == from + bytes);
			if (type == 2) {
				f->frequency = args[0];
				continue;
			}
			struct event e = {.type = type};
			memcpy(e.args, args + 1, sizeof args - sizeof *args);
			if (type == 48) {
				e.text_len = varint(f);
				assert_true((size_t)(f->end - f->at) >= e.text_len);
				e.text = f->at;
				f->at += e.text_len;
			}
			assert_true((int64_t)args[0] >= 0 && (type != 49 || !args[0]));
			add_event(f, p, now += args[0], e);
		}
	}
}

/* ---- the order: what depends on what, then time ---- */

static inline struct g *g_of(struct file *f, uint64_t id)
{
	for (size_t i = 0; i < f->g_count; i++)
		if (f->gs[i].id == id)
			return &f->gs[i];
	assert_true(f->g_count < 2 * PS_MAX);
	f->gs[f->g_count] = (struct g){.id = id};
	return &f->gs[f->g_count++];
}

static inline bool is_block(unsigned type)
{
	return type == 19 || type == 20 || (type >= 24 && type <= 27);
}

static inline bool is_ready(struct file *f, const struct event *e)
{
	const struct g *g = g_of(f, e->type == 13 || e->type == 21 || e->type == 39 ? e->args[0] : e->g);
	switch (e->type) {
	case 13: return g->state == NONE && !g->seq;
	case 14: return g->state == RUNNABLE && g->seq == e->args[1];
	case 38: return g->state == RUNNABLE;
	case 21:
	case 29: return g->state == WAITING && g->seq == e->args[1];
	case 39: return g->state == WAITING;
	default: return (!is_block(e->type) && e->type != 30 && e->type != 18) || g->state == RUNNING;
	}
}

static inline void check_stack(const struct file *f, uint64_t id)
{
	assert_in_range(id, 0, IDS_MAX - 1);
	assert_true(!id || f->stack_len[id]);
}

static inline void count_wait(struct file *f, const struct g *g, uint64_t ts)
{
	uint64_t spent = ts - g->since;
	assert_true(!g->in || g->in == 28 || g->stack);
	*(g->in == 27   ? &f->net_ns
	  : g->in == 28 ? &f->syscall_ns
	  : g->in >= 24 ? &f->sync_ns
	                : &(uint64_t){0}) += spent;
}

static inline void apply(struct file *f, struct p *p, const struct event *e)
{
	struct g *g = g_of(f, e->type == 13 || e->type == 21 || e->type == 39 ? e->args[0] : e->g);
	assert_true(e->type == 5 || e->type == 29 || e->type == 13 || e->type == 4 || e->type == 33 || e->type == 48 ||
	            p->runs);
	switch (e->type) {
	case 5:
		assert_false(p->runs);
		p->runs = true;
		break;
	case 6:
		assert_true(!p->g);
		p->runs = false;
		break;
	case 13:
		assert_true(e->args[0] && e->args[1]);
		check_stack(f, e->args[1]);
		check_stack(f, e->args[2]);
		assert_int_equal(p->g, e->g);
		*g = (struct g){.id = g->id, .seq = 1, .since = e->ts, .state = RUNNABLE, .in = e->args[2] ? 21 : 0};
		break;
	case 14:
	case 38:
		assert_true(!p->g);
		if (g->in == 21)
			f->sched_ns += e->ts - g->since;
		p->g = g->id;
		g->state = RUNNING;
		g->seq++;
		break;
	case 15:
	case 18:
		assert_true(p->g == g->id && g->state == RUNNING);
		p->g = 0;
		g->state = e->type == 15 ? DEAD : RUNNABLE;
		break;
	case 21:
	case 39:
		assert_true(e->type == 21 ? p->g && p->g == e->g && e->args[2] : !p->g);
		check_stack(f, e->args[e->type == 21 ? 2 : 1]);
		count_wait(f, g, e->ts);
		g->state = RUNNABLE;
		g->seq++;
		g->since = e->ts;
		g->in = 21;
		f->remote += e->type == 21;
		break;
	case 29:
		assert_true(g->in == 28 && !e->args[2]);
		count_wait(f, g, e->ts);
		g->state = RUNNABLE;
		g->seq++;
		g->in = 0;
		break;
	case 28:
		assert_true(p->g == g->id && g->state == RUNNING && e->args[0]);
		g->in = 28;
		g->since = e->ts;
		g->stack = e->args[0];
		break;
	case 30:
		assert_true(p->g == g->id && g->in == 28 && g->since == e->ts);
		g->state = WAITING;
		p->g = 0;
		break;
	case 33: f->heap = e->args[0]; break;
	case 48:
		assert_true(!e->args[0] && e->args[1] < IDS_MAX && f->string_len[e->args[1]]);
		check_stack(f, e->args[2]);
		snprintf(f->last_log, sizeof f->last_log, "%.*s", (int)e->text_len, (const char *)e->text);
		snprintf(f->last_category, sizeof f->last_category, "%.*s", (int)f->string_len[e->args[1]],
		         (const char *)f->string[e->args[1]]);
		f->logs++;
		break;
	default:
		if (!is_block(e->type))
			break;
		assert_true(p->g == g->id && g->state == RUNNING && e->args[0]);
		check_stack(f, e->args[0]);
		*g = (struct g){.id = g->id,
		                .seq = g->seq,
		                .since = e->ts,
		                .state = WAITING,
		                .in = e->type,
		                .stack = e->args[0]};
		p->g = 0;
	}
}

static inline void merge(struct file *f)
{
	uint64_t now = 0;
	for (size_t i = 0; i < PS_MAX; i++)
		f->ps[i].g = 0;
	for (;;) {
		struct p *best = NULL;
		bool is_left = false;
		for (struct p *p = f->ps; p < f->ps + PS_MAX; p++) {
			is_left |= p->next < p->count;
			if (p->next < p->count && is_ready(f, &p->at[p->next]) &&
			    (!best || p->at[p->next].ts < best->at[best->next].ts))
				best = p;
		}
		assert_true(!is_left || best); /* "no consistent ordering of events possible" */
		if (!best)
			return;
		const struct event *e = &best->at[best->next++];
		assert_true(e->ts >= now); /* "time stamps out of order" */
		now = e->ts;
		apply(f, best, e);
	}
}

/* A sample makes its G known to Go's reader: it may not be there before; and it may not part the events of a system
 * call. */
static inline void check_samples(const struct file *f)
{
	for (size_t i = 0; i < f->sample_count; i++) {
		const struct event *s = &f->samples[i];
		bool created = false;
		check_stack(f, s->args[3]);
		for (size_t p = 0; p < PS_MAX; p++)
			for (size_t k = 0; k < f->ps[p].count; k++) {
				const struct event *e = &f->ps[p].at[k];
				created |= e->type == 13 && e->args[0] == s->args[2] && e->ts < s->ts;
				assert_false(e->type == 28 && e->g == s->args[2] && e->ts == s->ts);
			}
		assert_true(created);
	}
}

static inline struct file *read_file(const uint8_t *bytes, size_t len)
{
	struct file *f = calloc(1, sizeof *f);
	assert_true(len > 16);
	assert_memory_equal(bytes, "go 1.19 trace\0\0\0", 16);
	f->at = bytes + 16;
	f->end = bytes + len;
	read_events(f);
	assert_int_equal(f->frequency, 1000000000);
	merge(f);
	check_samples(f);
	return f;
}

static inline struct file *encode(const struct made *m)
{
	struct region r = {0};
	struct out o;
	out_init(&o, &r);
	assert_int_equal(trace_encode_go(&r, &o, &m->snapshot, NULL), 0);
	uint8_t *bytes = made_join(&o);
	struct file *f = read_file(bytes, o.len);
	free(bytes);
	region_release(&r);
	return f;
}

static inline void drop(struct file *f)
{
	for (size_t i = 0; i < PS_MAX; i++)
		free(f->ps[i].at);
	free(f);
}

#endif
