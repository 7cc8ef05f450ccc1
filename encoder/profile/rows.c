/* rows.c - the rows of a profile from one snapshot or two.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/rows.h"

#include <assert.h>
#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/sort.h"
#include "encoder/names/tails.h"
#include "shim/base/pace.h"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES };
enum { CONTENTIONS, DELAY_NS };

static void to_columns(int64_t column[4], const struct heap_values *v, int sign)
{
	column[ALLOC_OBJECTS] += sign * (int64_t)v->alloc_objects;
	column[ALLOC_BYTES] += sign * (int64_t)v->alloc_bytes;
	column[INUSE_OBJECTS] += sign * (int64_t)(v->alloc_objects - v->free_objects);
	column[INUSE_BYTES] += sign * (int64_t)(v->alloc_bytes - v->free_bytes);
}

static void add(struct rows *rows, const struct row *row)
{
	int64_t any = 0;
	for (int i = 0; i < 4; i++)
		any |= row->value[i] | row->raw[i];
	if (any)
		rows->at[rows->count++] = *row;
}

static int make_room(struct region *r, struct rows *rows, size_t most)
{
	rows->at = region_alloc(r, most * sizeof *rows->at + 1);
	return rows->at ? 0 : -ENOMEM;
}

static int make_heap(struct region *r, struct rows *rows, const struct heap_snapshot *now,
                     const struct heap_snapshot *before)
{
	if (make_room(r, rows, now->count) < 0)
		return -ENOMEM;
	rows->time_ns = now->time_ns;
	rows->period = now->rate_bytes;
	for (size_t i = 0; i < now->count && !pace(); i++) {
		const struct heap_row *h = &now->rows[i];
		struct row row = {.stack = h->stack, .class_bytes = h->class_bytes};
		to_columns(row.value, &h->scaled, 1);
		to_columns(row.raw, &h->raw, 1);
		if (before && i < before->count) { /* the same bucket: snapshot.h */
			to_columns(row.value, &before->rows[i].scaled, -1);
			to_columns(row.raw, &before->rows[i].raw, -1);
		}
		add(rows, &row);
	}
	return 0;
}

static int64_t count_of_stack(const struct thread_snapshot *s, const struct stack *stack)
{
	int64_t n = 0;
	for (size_t i = 0; i < s->count; i++)
		n += s->rows[i].stack == stack ? (int64_t)s->rows[i].count : 0;
	return n;
}

/* A difference is grouped by stack alone: between the two moments threads may have ended or changed their names. */
static int make_threads(struct region *r, struct rows *rows, const struct thread_snapshot *now,
                        const struct thread_snapshot *before)
{
	if (make_room(r, rows, now->count) < 0)
		return -ENOMEM;
	rows->time_ns = now->time_ns;
	rows->period = 1;
	for (size_t i = 0; i < now->count && !pace(); i++) {
		const struct thread_row *t = &now->rows[i];
		struct row row = {.stack = t->stack, .thread = t->name, .value = {(int64_t)t->count}};
		if (before) {
			bool seen = i > 0 && now->rows[i - 1].stack == t->stack; /* rows of one stack are adjacent */
			row.thread = NULL;
			row.value[0] = seen ? 0 : count_of_stack(now, t->stack) - count_of_stack(before, t->stack);
		}
		add(rows, &row);
	}
	return 0;
}

bool rows_reach(const struct dump_thread *t)
{
	return t->stack && t->stack->depth;
}

/* Two stacks are the same if they have the same frames in the same objects. */
static struct span key_of(const struct stack *s)
{
	enum { FROM = offsetof(struct stack, depth) };
	static_assert(offsetof(struct stack, place) == FROM + sizeof s->depth, "depth, place and pc are one piece");
	static_assert(offsetof(struct stack, pc) == FROM + sizeof s->depth + sizeof s->place,
	              "depth, place and pc are one piece");
	return (struct span){(const char *)s + FROM, offsetof(struct stack, pc) - FROM + s->depth * sizeof *s->pc};
}

/* Count each thread in the row of its stack; stack number n of `seen` has row n. */
static int count_threads(struct region *r, struct rows *rows, struct intern *seen, const struct dump_snapshot *s,
                         int sign)
{
	for (size_t i = 0; i < s->count && !pace(); i++) {
		const struct dump_thread *t = &s->threads[i];
		const struct stack *stack = rows_reach(t) ? t->stack : s->unreached;
		bool is_new;
		if (!stack)
			continue;
		int64_t n = intern(seen, r, key_of(stack), &is_new);
		if (n < 0)
			return -ENOMEM;
		if (is_new)
			rows->at[n] = (struct row){.stack = stack};
		rows->at[n].value[0] += sign;
	}
	return 0;
}

/* Threads come and go, unlike counters, so a stack that only `before` has makes a row, too. */
static int make_dump(struct region *r, struct rows *rows, const struct dump_snapshot *now,
                     const struct dump_snapshot *before)
{
	struct intern seen = {0};
	if (make_room(r, rows, now->count + (before ? before->count : 0)) < 0 ||
	    count_threads(r, rows, &seen, now, 1) < 0 || (before && count_threads(r, rows, &seen, before, -1) < 0))
		return -ENOMEM;
	rows->time_ns = now->time_ns;
	rows->period = 1;
	for (size_t i = 0; i < now->count; i++)
		rows->unreached += !rows_reach(&now->threads[i]);
	for (size_t i = 0; i < seen.count; i++) {
		const struct row row = rows->at[i];
		add(rows, &row);
	}
	return 0;
}

static int make_contention(struct region *r, struct rows *rows, const struct contention_snapshot *now,
                           const struct contention_snapshot *before)
{
	if (make_room(r, rows, now->count) < 0)
		return -ENOMEM;
	rows->time_ns = now->time_ns;
	rows->period = 1;
	for (size_t i = 0; i < now->count; i++) {
		const struct contention_row *c = &now->rows[i];
		struct row row = {.stack = c->stack, .value = {(int64_t)c->contentions, (int64_t)c->delay_ns}};
		if (before && i < before->count) { /* the same stack: snapshot.h */
			row.value[CONTENTIONS] -= (int64_t)before->rows[i].contentions;
			row.value[DELAY_NS] -= (int64_t)before->rows[i].delay_ns;
		}
		add(rows, &row);
	}
	return 0;
}

static int make_cpu(struct region *r, struct rows *rows, const struct cpu_snapshot *s)
{
	if (make_room(r, rows, s->count) < 0)
		return -ENOMEM;
	rows->time_ns = s->time_ns;
	rows->duration_ns = s->duration_ns;
	rows->period = s->period_ns;
	for (size_t i = 0; i < s->count; i++) {
		const struct cpu_row *c = &s->rows[i];
		const struct row row = {.stack = c->stack,
		                        .thread = c->name,
		                        .tid = c->tid,
		                        .value = {(int64_t)c->count, (int64_t)c->ns}};
		add(rows, &row);
	}
	return 0;
}

int rows_make(struct region *r, struct rows *rows, const struct profile_snapshot *now,
              const struct profile_snapshot *before)
{
	*rows = (struct rows){.duration_ns = before ? now->mono_ns - before->mono_ns : 0};
	switch (now->kind) {
	case PROFILE_HEAP:
	case PROFILE_ALLOCS: return make_heap(r, rows, &now->heap, before ? &before->heap : NULL);
	case PROFILE_THREADCREATE: return make_threads(r, rows, &now->threads, before ? &before->threads : NULL);
	case PROFILE_GOROUTINE: return make_dump(r, rows, &now->dump, before ? &before->dump : NULL);
	case PROFILE_BLOCK:
	case PROFILE_MUTEX: return make_contention(r, rows, &now->contention, before ? &before->contention : NULL);
	case PROFILE_CPU: return make_cpu(r, rows, &now->cpu);
	}
	return -EINVAL;
}

int rows_complete(struct rows *rows, enum profile_kind kind, struct names *names, struct patience *patience)
{
	static const enum tails_leaf leaf[] = {
		[PROFILE_HEAP] = TAILS_ALLOCATOR,
		[PROFILE_ALLOCS] = TAILS_ALLOCATOR,
		[PROFILE_THREADCREATE] = TAILS_CREATOR,
		[PROFILE_CPU] = TAILS_NOTHING,
	};
	struct tails_stack *stacks = region_alloc(names->region, rows->count * sizeof *stacks + 1);
	if (!stacks)
		return -ENOMEM;
	for (size_t i = 0; i < rows->count; i++)
		stacks[i] = (struct tails_stack){rows->at[i].stack, leaf[kind]};
	int r = tails_insert(names, stacks, rows->count, patience);
	for (size_t i = 0; i < rows->count; i++)
		rows->at[i].stack = stacks[i].stack;
	return r;
}

static bool more_in_use(const void *a, const void *b)
{
	return ((const struct row *)a)->value[INUSE_BYTES] > ((const struct row *)b)->value[INUSE_BYTES];
}

static bool more_allocated(const void *a, const void *b)
{
	return ((const struct row *)a)->value[ALLOC_BYTES] > ((const struct row *)b)->value[ALLOC_BYTES];
}

static bool larger_count(const void *a, const void *b)
{
	return ((const struct row *)a)->value[0] > ((const struct row *)b)->value[0];
}

static bool longer_delay(const void *a, const void *b)
{
	return ((const struct row *)a)->value[DELAY_NS] > ((const struct row *)b)->value[DELAY_NS];
}

void rows_sort(struct rows *rows, enum profile_kind kind)
{
	static_assert(sizeof(struct row) <= SORT_ITEM_MAX, "a row must fit the sort");
	static bool (*const order[])(const void *, const void *) = {
		[PROFILE_HEAP] = more_in_use,          [PROFILE_ALLOCS] = more_allocated,
		[PROFILE_THREADCREATE] = larger_count, [PROFILE_GOROUTINE] = larger_count,
		[PROFILE_BLOCK] = longer_delay,        [PROFILE_MUTEX] = longer_delay,
		[PROFILE_CPU] = larger_count,
	};
	sort_items(rows->at, rows->count, sizeof *rows->at, order[kind]);
}
