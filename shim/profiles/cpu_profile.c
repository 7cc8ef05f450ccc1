/* cpu_profile.c - CPU profiles: samples counted by thread and stack, and comments on lost ones.
 *
 * Runs in: listener. Each profile lives in its request's region.
 *
 * Samples are taken by one run at a time (cpu.c). Profiles that are wanted at the same time share it: each counts the
 * samples from its own beginning to its own end. The first begins the run, the last ends it. A task that begins or ends
 * it may give way to others, which wait for that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/shared.h"
#include "shim/snapshot.h"

#include <errno.h>
#include <string.h>

#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/proc.h"
#include "shim/base/settings.h"
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
	PROFILES_MOST = 8, /* at once */
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
	struct profile *next; /* of those that share the run */
	struct region *region;
	unsigned asked_hz;
	uint64_t time_ns, mono_ns;
	uint64_t lost_before, pauses_before, untimed_before; /* in the run, when it began */
	struct comments comments;
	size_t count;
	uint64_t cut_short;
	struct tally others; /* samples that found no room */
	struct tally *slot[SLOTS];
};

static struct {
	struct cpu_run run;
	struct region region;      /* the run's, for its comments */
	struct profile *newest;    /* NULL: no profile is taken */
	struct pace_turn changing; /* the run is being begun or ended */
} shared FORKED;

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

static size_t bytes_of_all(void)
{
	size_t bytes = 0;
	for (const struct profile *p = shared.newest; p; p = p->next)
		bytes += p->region->bytes;
	return bytes;
}

/* Returns NULL if there is no room. Half of the memory for requests is left to the answers. */
static struct tally *new_tally(struct profile *p, const struct sample *s, uint32_t hash)
{
	if (bytes_of_all() > arena_requests_bytes() / 2)
		return NULL;
	struct tally *t = region_alloc(p->region, sizeof *t);
	struct stack *stack = region_alloc(p->region, sizeof *stack + s->depth * sizeof *s->pc);
	char *name = region_alloc(p->region, sizeof s->name + 1);
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

static void add_to(struct profile *p, const struct sample *s, uint32_t hash, bool was_short)
{
	struct tally *t = p->slot[hash % SLOTS];
	while (t && !is_of(t, s, hash))
		t = t->next;
	if (!t)
		t = new_tally(p, s, hash);
	if (!t)
		t = &p->others;
	t->count += s->weight;
	t->ns += s->weight * shared.run.period_ns;
	p->cut_short += was_short;
}

static void add(struct cpu_run *run, const struct sample *s, bool was_short)
{
	(void)run;
	uint32_t hash = hash_of(s);
	for (struct profile *p = shared.newest; p; p = p->next)
		add_to(p, s, hash, was_short);
}

static int begin_run(unsigned hz)
{
	shared.run = (struct cpu_run){.purpose = CPU_FOR_PROFILE, .region = &shared.region, .hz = hz, .take = add};
	int error = cpu_begin(&shared.run);
	if (error)
		region_release(&shared.region);
	return error;
}

/* Takes part in the run from now on: what waits in the ring was before. */
static void join(struct profile *p)
{
	cpu_take(&shared.run);
	p->time_ns = os_clock_ns(CLOCK_REALTIME);
	p->mono_ns = os_clock_ns(CLOCK_MONOTONIC);
	p->lost_before = ring_lost();
	p->pauses_before = ticks_pauses();
	p->untimed_before = ticks_untimed();
	p->next = shared.newest;
	shared.newest = p;
}

static size_t count_profiles(void)
{
	size_t n = 0;
	for (const struct profile *p = shared.newest; p; p = p->next)
		n++;
	return n;
}

int snapshot_cpu_begin(struct region *r, unsigned hz)
{
	struct profile *p = region_alloc(r, sizeof *p);
	if (!p)
		return -ENOMEM;
	p->region = p->comments.region = r;
	p->asked_hz = hz ? hz : (unsigned)settings.cpu_hz;
	p->others = (struct tally){.stack = &stacks_others, .name = ""};
	if (!pace_take_turn(&shared.changing))
		return -EBUSY;
	int error = count_profiles() == PROFILES_MOST ? -EBUSY : shared.newest ? 0 : begin_run(hz);
	if (!error)
		join(p);
	pace_leave_turn(&shared.changing);
	return error;
}

/* Returns the profile that began in this region; NULL: none did, or it is over. */
static struct profile *profile_in(const struct region *r)
{
	struct profile *p = shared.newest;
	while (p && p->region != r)
		p = p->next;
	return p;
}

unsigned snapshot_cpu_drain(void)
{
	return shared.newest ? cpu_drain(&shared.run) : NO_PROFILE_DRAIN_MS;
}

/* Takes the samples up to now, or leaves them to others. The last one ends the run: the turn is free, as only who
 * begins a run that has no profile yet, or ends its last one, keeps it for long. */
static void part(struct profile *p, enum cpu_rest rest)
{
	struct profile **at = &shared.newest;
	bool is_last = shared.newest == p && !p->next, has_turn = is_last && pace_take_turn(&shared.changing);
	if (is_last)
		cpu_end(&shared.run, rest);
	else
		cpu_take(&shared.run);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (has_turn)
		pace_leave_turn(&shared.changing);
}

/* Threads that used CPU time and have no sample: possibly they block our signal. */
struct suspects {
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
	if (used > t->armed_cpu_ns + 4 * shared.run.period_ns)
		s->tid[s->count++] = tid;
}

static long find_suspects(void *suspects)
{
	threads_each(suspect, suspects);
	return 0;
}

static void comment_on_blocked(struct profile *p)
{
	struct suspects s = {0};
	timers_inside(find_suspects, &s);
	for (size_t i = 0; i < s.count; i++) {
		char text[COMMENT_BYTES];
		struct line l = LINE(text);
		if (has_samples(p, s.tid[i]) || !tasks_blocks(s.tid[i], SIGNALS_OURS))
			continue;
		const char *name = tasks_name(p->region, s.tid[i]);
		line_str(&l, "thread ");
		line_dec(&l, s.tid[i]);
		line_str(&l, " (");
		line_str(&l, name ? name : "");
		line_str(&l, ") not sampled: it blocks signal 33, which the timers use");
		comments_add(&p->comments, &l);
	}
}

static int make_rows(const struct profile *p, struct cpu_snapshot *s)
{
	s->rows = region_alloc(p->region, (p->count + 1) * sizeof *s->rows);
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

static void comment_on_rate(struct profile *p)
{
	char text[COMMENT_BYTES];
	struct line l = LINE(text);
	uint64_t possible_hz = 1000000000u / shared.run.period_ns;
	if (p->asked_hz == shared.run.hz && possible_hz >= p->asked_hz)
		return;
	line_dec(&l, possible_hz < shared.run.hz ? (int64_t)possible_hz : (int64_t)shared.run.hz);
	line_str(&l, " samples a second, not ");
	line_dec(&l, p->asked_hz);
	line_str(&l, p->asked_hz == shared.run.hz ? ": the kernel looks at CPU timers at its ticks alone"
	                                          : ": another profile was being taken, at that rate");
	comments_add(&p->comments, &l);
}

static void comment_on_proc(struct comments *c)
{
	char text[COMMENT_BYTES];
	struct line l = LINE(text);
	line_str(&l, PROC_IS_MISSING ": threads that libc did not make are not sampled, and threads have no names");
	if (!proc_is_there())
		comments_add(c, &l);
}

static void make_comments(struct profile *p)
{
	struct comments *c = &p->comments;
	for (size_t i = 0; i < shared.run.comments.count; i++) {
		char *text = (char *)shared.run.comments.at[i];
		comments_add(c, &(struct line){text, strlen(text) + 1, strlen(text)});
	}
	comment_on_rate(p);
	comment_on_proc(c);
	comments_add_count(c, ring_lost() - p->lost_before,
	                   " samples lost: the ring was full, or a thread was stopped while it wrote one");
	comments_add_count(
		c, p->others.count,
		" samples counted at other_stacks, in place of their own: the profiler's own memory is used up; "
		"raise PPROF_MEMORY_LIMIT");
	comments_add_count(c, p->cut_short, " samples with short stacks: too much new code at once");
	comments_add_count(
		c, ticks_pauses() - p->pauses_before,
		" times the timers were taken away for a moment, and samples lost: the program changed its user "
		"or group");
	comments_add_count(
		c, ticks_untimed() - p->untimed_before,
		" threads not sampled: they could get no timer; raise the limit of pending signals (ulimit -i)");
}

/* Releases the run's memory with its last profile. */
static void end_region(void)
{
	if (!shared.newest)
		region_release(&shared.region);
}

int snapshot_cpu_end(struct region *r, struct cpu_snapshot *s)
{
	struct profile *p = profile_in(r);
	if (!p)
		return -ENOMEM;
	comment_on_blocked(p); /* while the timers are still known */
	*s = (struct cpu_snapshot){
		.time_ns = p->time_ns,
		.duration_ns = os_clock_ns(CLOCK_MONOTONIC) - p->mono_ns,
		.period_ns = shared.run.period_ns,
	};
	part(p, CPU_TAKE_REST);
	make_comments(p);
	end_region();
	int error = make_rows(p, s);
	s->comment_count = p->comments.count;
	s->comments = p->comments.at;
	return error;
}

void snapshot_cpu_abandon(struct region *r)
{
	struct profile *p = profile_in(r);
	if (!p)
		return;
	part(p, CPU_DROP_REST);
	end_region();
}

FORKED_CODE void cpu_profile_fork_child(void)
{
	shared.newest = NULL;
	shared.region = (struct region){0};
}
