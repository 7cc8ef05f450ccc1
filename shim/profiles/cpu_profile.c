/* cpu_profile.c - the CPU profile: samples counted by thread and stack, and comments on lost ones.
 *
 * Runs in: listener. One profile at a time, in its request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/shared.h"
#include "shim/snapshot.h"

#include <errno.h>
#include <string.h>

#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/profiles/cpu.h"
#include "shim/profiles/ticks.h"
#include "shim/stack/ring.h"
#include "shim/stack/stacks.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/threads/timers.h"
#include "shim/waits/signals.h"

enum {
	SLOTS = 4096,
	NO_PROFILE_DRAIN_MS = 100,
};

/* Samples of one thread at one stack. */
struct tally {
	struct tally *next;
	struct stack *stack;
	const char *name;
	int tid;
	uint64_t count, ns;
};

struct profile {
	struct cpu_run run;
	size_t count;
	uint64_t cut_short;
	struct tally others; /* samples that found no room */
	struct tally *slot[SLOTS];
};

static struct profile *profile FORKED; /* NULL: none is taken */

static uint32_t hash_of(const struct sample *s)
{
	uint64_t h = (uint64_t)s->tid;
	for (size_t i = 0; i < s->depth; i++) {
		h = (h ^ s->pc[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

static bool is_of(const struct tally *t, const struct sample *s, uint32_t hash)
{
	return t->stack->hash == hash && t->tid == s->tid && t->stack->depth == s->depth &&
	       t->stack->place == s->place && memcmp(t->stack->pc, s->pc, s->depth * sizeof *s->pc) == 0 &&
	       strcmp(t->name, s->name) == 0;
}

/* Returns NULL if there is no room. Half of the memory for requests is left to the answer. */
static struct tally *new_tally(struct profile *p, const struct sample *s, uint32_t hash)
{
	if (p->run.region->bytes > arena_requests_bytes() / 2)
		return NULL;
	struct tally *t = region_alloc(p->run.region, sizeof *t);
	struct stack *stack = region_alloc(p->run.region, sizeof *stack + s->depth * sizeof *s->pc);
	char *name = region_alloc(p->run.region, sizeof s->name + 1);
	if (!t || !stack || !name)
		return NULL;
	stack->hash = hash;
	stack->depth = s->depth;
	stack->place = s->place;
	memcpy(stack->pc, s->pc, s->depth * sizeof *s->pc);
	memcpy(name, s->name, sizeof s->name);
	*t = (struct tally){.next = p->slot[hash % SLOTS], .stack = stack, .name = name, .tid = s->tid};
	p->slot[hash % SLOTS] = t;
	p->count++;
	return t;
}

static void add(struct cpu_run *run, const struct sample *s, bool was_short)
{
	struct profile *p = (struct profile *)run;
	uint32_t hash = hash_of(s);
	struct tally *t = p->slot[hash % SLOTS];
	while (t && !is_of(t, s, hash))
		t = t->next;
	if (!t)
		t = new_tally(p, s, hash);
	if (!t)
		t = &p->others;
	t->count += s->weight;
	t->ns += s->weight * run->period_ns;
	p->cut_short += was_short;
}

int snapshot_cpu_begin(struct region *r, unsigned hz)
{
	if (profile)
		return -EBUSY;
	struct profile *p = region_alloc(r, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->run = (struct cpu_run){.purpose = CPU_FOR_PROFILE, .region = r, .hz = hz, .take = add};
	p->others = (struct tally){.stack = &stacks_others, .name = ""};
	int error = cpu_begin(&p->run);
	if (!error)
		profile = p;
	return error;
}

unsigned snapshot_cpu_drain(void)
{
	return profile ? cpu_drain(&profile->run) : NO_PROFILE_DRAIN_MS;
}

/* Threads that used CPU time and have no sample: possibly they block our signal. */
struct suspects {
	struct profile *profile;
	size_t count;
	int tid[COMMENTS_MOST];
};

static bool has_samples(const struct profile *p, int tid)
{
	for (size_t i = 0; i < SLOTS; i++)
		for (const struct tally *t = p->slot[i]; t; t = t->next)
			if (t->tid == tid)
				return true;
	return false;
}

static void suspect(struct thread *t, void *arg)
{
	struct suspects *s = arg;
	if (shared_load_relaxed(&t->timer) == THREAD_NO_TIMER || s->count == COMMENTS_MOST)
		return;
	int tid = shared_load_relaxed(&t->tid);
	uint64_t used = timers_cpu_ns(tid); /* 0 if the thread has ended */
	if (used > t->armed_cpu_ns + 4 * s->profile->run.period_ns)
		s->tid[s->count++] = tid;
}

static long find_suspects(void *suspects)
{
	threads_each(suspect, suspects);
	return 0;
}

static void comment_on_blocked(struct profile *p)
{
	struct suspects s = {.profile = p};
	timers_inside(find_suspects, &s);
	for (size_t i = 0; i < s.count; i++) {
		char text[COMMENT_BYTES];
		struct line l = LINE(text);
		if (has_samples(p, s.tid[i]) || !tasks_blocks(s.tid[i], SIGNALS_OURS))
			continue;
		const char *name = tasks_name(p->run.region, s.tid[i]);
		line_str(&l, "thread ");
		line_dec(&l, s.tid[i]);
		line_str(&l, " (");
		line_str(&l, name ? name : "");
		line_str(&l, ") not sampled: it blocks signal 33, which the timers use");
		comments_add(&p->run.comments, &l);
	}
}

static int make_rows(const struct profile *p, struct cpu_snapshot *s)
{
	s->rows = region_alloc(p->run.region, (p->count + 1) * sizeof *s->rows);
	if (!s->rows)
		return -ENOMEM;
	if (p->others.count)
		s->rows[s->count++] =
			(struct cpu_row){p->others.stack, p->others.name, 0, p->others.count, p->others.ns};
	for (size_t i = 0; i < SLOTS; i++)
		for (const struct tally *t = p->slot[i]; t; t = t->next)
			s->rows[s->count++] = (struct cpu_row){t->stack, t->name, t->tid, t->count, t->ns};
	return 0;
}

static void make_comments(struct profile *p)
{
	struct comments *c = &p->run.comments;
	uint64_t possible_hz = 1000000000u / p->run.period_ns;
	if (possible_hz < p->run.hz) {
		char text[COMMENT_BYTES];
		struct line l = LINE(text);
		line_dec(&l, (int64_t)possible_hz);
		line_str(&l, " samples a second, not ");
		line_dec(&l, (int64_t)p->run.hz);
		line_str(&l, ": the kernel looks at CPU timers at its ticks alone");
		comments_add(c, &l);
	}
	comments_add_count(c, ring_lost(),
	                   " samples lost: the ring was full, or a thread was stopped while it wrote one");
	comments_add_count(
		c, p->others.count,
		" samples counted at other_stacks, in place of their own: the profiler's own memory is used up; "
		"raise PPROF_MEMORY_LIMIT");
	comments_add_count(c, p->cut_short, " samples with short stacks: too much new code at once");
	comments_add_count(
		c, ticks_pauses(),
		" times the timers were taken away for a moment, and samples lost: the program changed its user "
		"or group");
	comments_add_count(
		c, ticks_untimed(),
		" threads not sampled: they could get no timer; raise the limit of pending signals (ulimit -i)");
}

int snapshot_cpu_end(struct cpu_snapshot *s)
{
	struct profile *p = profile;
	if (!p)
		return -ENOMEM;
	*s = (struct cpu_snapshot){
		.time_ns = p->run.time_ns,
		.duration_ns = os_clock_ns(CLOCK_MONOTONIC) - p->run.mono_ns,
		.period_ns = p->run.period_ns,
	};
	comment_on_blocked(p); /* while the timers are still known */
	profile = NULL;
	cpu_end(&p->run, CPU_TAKE_REST);
	make_comments(p);
	int r = make_rows(p, s);
	s->comment_count = p->run.comments.count;
	s->comments = p->run.comments.at;
	return r;
}

void snapshot_cpu_abandon(void)
{
	struct profile *p = profile;
	profile = NULL;
	if (p)
		cpu_end(&p->run, CPU_DROP_REST);
}

FORKED_CODE void cpu_profile_fork_child(void)
{
	profile = NULL;
}
