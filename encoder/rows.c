/* rows.c - the rows of a profile from one snapshot or two.
 *
 * Runs in: listener. In the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/rows.h"

#include <assert.h>
#include <errno.h>

#include "encoder/sort.h"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES };

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

static int make_heap(struct rows *rows, const struct heap_snapshot *now, const struct heap_snapshot *before)
{
	rows->time_ns = now->time_ns;
	rows->period = now->rate_bytes;
	for (size_t i = 0; i < now->count; i++) {
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

/* A difference is by stack alone: between the two moments threads ended and changed their names. */
static int make_threads(struct rows *rows, const struct thread_snapshot *now, const struct thread_snapshot *before)
{
	rows->time_ns = now->time_ns;
	rows->period = 1;
	for (size_t i = 0; i < now->count; i++) {
		const struct thread_row *t = &now->rows[i];
		struct row row = {.stack = t->stack, .thread = t->name, .value = {(int64_t)t->count}};
		if (before) {
			bool seen = i > 0 && now->rows[i - 1].stack == t->stack; /* rows of a stack follow each other */
			row.thread = NULL;
			row.value[0] = seen ? 0 : count_of_stack(now, t->stack) - count_of_stack(before, t->stack);
		}
		add(rows, &row);
	}
	return 0;
}

int rows_make(struct region *r, struct rows *rows, const struct profile_snapshot *now,
              const struct profile_snapshot *before)
{
	bool threads = now->kind == PROFILE_THREADCREATE;
	size_t most = threads ? now->threads.count : now->heap.count;
	*rows = (struct rows){.at = region_alloc(r, most * sizeof *rows->at + 1)};
	if (!rows->at)
		return -ENOMEM;
	return threads ? make_threads(rows, &now->threads, before ? &before->threads : NULL)
	               : make_heap(rows, &now->heap, before ? &before->heap : NULL);
}

static bool more_in_use(const void *a, const void *b)
{
	return ((const struct row *)a)->value[INUSE_BYTES] > ((const struct row *)b)->value[INUSE_BYTES];
}

static bool more_allocated(const void *a, const void *b)
{
	return ((const struct row *)a)->value[ALLOC_BYTES] > ((const struct row *)b)->value[ALLOC_BYTES];
}

static bool more_created(const void *a, const void *b)
{
	return ((const struct row *)a)->value[0] > ((const struct row *)b)->value[0];
}

void rows_sort(struct rows *rows, enum profile_kind kind)
{
	static_assert(sizeof(struct row) <= SORT_ITEM_MAX, "a row must fit the sort");
	static bool (*const order[])(const void *, const void *) = {
	    [PROFILE_HEAP] = more_in_use,
	    [PROFILE_ALLOCS] = more_allocated,
	    [PROFILE_THREADCREATE] = more_created,
	};
	sort_items(rows->at, rows->count, sizeof *rows->at, order[kind]);
}
