/* threadcreate.c - the rows of threadcreate: where threads were created, and the names of those that live.
 *
 * Runs in: listener. Reads the records of threads without a lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/shared.h"
#include "shim/snapshot.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"

/* The snapshot: the table tells which threads live, /proc tells their names. */

struct living {
	int tid;
	const struct thread_site *site;
	const char *name; /* NULL: it ended meanwhile */
};

struct roll {
	struct living *at;
	size_t count, cap;
};

static void enrol(struct thread *t, void *arg)
{
	struct roll *l = arg;
	if (l->count < l->cap)
		l->at[l->count] = (struct living){.tid = shared_load_relaxed(&t->tid),
		                                  .site = t->site}; /* NULL of one that was not created */
	l->count++;
}

static struct living *copy_living(struct region *r, size_t *count)
{
	for (size_t cap = 64;; cap *= 2) {
		struct roll l = {.at = region_alloc(r, cap * sizeof *l.at), .cap = cap};
		if (!l.at)
			return NULL;
		threads_each(enrol, &l);
		*count = l.count;
		if (l.count <= cap)
			return l.at;
	}
}

static void add_row(struct thread_snapshot *s, const struct thread_site *site, const char *name, uint64_t count)
{
	if (count)
		s->rows[s->count++] =
			(struct thread_row){.stack = threads_site_stack(site), .name = name, .count = count};
}

/* One row for each name among the living threads of a site, one without a name for the rest. */
static void add_site(struct thread_snapshot *s, const struct thread_site *site, struct living *l, size_t living)
{
	uint64_t left = threads_site_count(site);
	for (size_t i = 0; i < living && left && !pace(); i++) {
		if (l[i].site != site || !l[i].name)
			continue;
		const char *name = l[i].name;
		uint64_t same = 0;
		for (size_t k = i; k < living && same < left; k++)
			if (l[k].site == site && l[k].name && strcmp(l[k].name, name) == 0) {
				l[k].name = NULL;
				same++;
			}
		add_row(s, site, name, same);
		left -= same;
	}
	add_row(s, site, NULL, left);
}

int snapshot_threads(struct region *r, struct thread_snapshot *s)
{
	size_t living = 0, sites = 0;
	struct living *l = copy_living(r, &living);
	if (!l)
		return -ENOMEM;
	for (size_t i = 0; i < living && !pace(); i++)
		l[i].name = tasks_name(r, l[i].tid);
	const struct thread_site *newest = threads_sites();
	for (const struct thread_site *t = newest; t; t = threads_older_site(t))
		sites++;
	*s = (struct thread_snapshot){
		.time_ns = os_clock_ns(CLOCK_REALTIME),
		.rows = region_alloc(r, (sites + living + 1) * sizeof *s->rows),
	};
	if (!s->rows)
		return -ENOMEM;
	for (const struct thread_site *t = newest; t; t = threads_older_site(t))
		add_site(s, t, l, living);
	return 0;
}
