/* cpu.c - CPU profiling: one timer a thread on its CPU clock, samples through a ring.
 *
 * Runs in: listener; signal handler (cpu_tick, cpu_interval).
 * Shared: `cpu.period_ns` says to handlers whether a profile is taken. The rest is the listener's; the timers are in
 * ticks.c.
 *
 * The rate. The kernel looks at CPU timers at its ticks alone (clock_tick_ns), so no thread is sampled more often than
 * that. What a thread does after its last tick is never seen: half a tick on average, which would take a third off a
 * thread of 5 ms, if its CPU time were what is divided into periods. So for young threads ticks are: each stands for
 * one tick's time, whatever the thread used since the one before, as every tick of a busy processor falls on some
 * thread. Later each stands for the CPU time since the one before: the end no longer matters then, and ticks get lost
 * (where a machine under a virtual one takes the processor away). Timers expire at every tick (they are set to a
 * microsecond), and of each period's worth one is sampled, the first one drawn at random: systematic sampling with a
 * random start (W. Cochran, Sampling Techniques, 8.1), unbiased for threads that live however short. A tick that is not
 * sampled costs a signal that returns at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/cpu.h"

#include <string.h>

#include "shim/libc/clock.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/profiles/quota.h"
#include "shim/stack/ring.h"
#include "shim/base/settings.h"
#include "shim/waits/signals.h"
#include "shim/snapshot.h"
#include "shim/stack/stacks.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/threads/threads.h"
#include "shim/profiles/ticks.h"
#include "shim/threads/timers.h"
#include "shim/profiles/trace_events.h"

enum {
	YOUNG_US = 100000,
	DRAIN_LEAST_MS = 5,
	DRAIN_FIRST_MS = 50, /* often at first, when no rule of the unwinder is known */
	DRAIN_MOST_MS = 100,
	FIRST_DRAINS = 20,
	SLOTS = 4096,
	COMMENTS_MOST = 64,
	COMMENT_BYTES = 256,
	QUIET_MS = 100,
	BEGINNING_MS = 2,
};

/* Samples of one thread at one stack. */
struct tally {
	struct tally *next;
	struct stack *stack;
	const char *name;
	int tid;
	uint64_t count, ns;
};

/* One profile, in its request's region. */
struct profile {
	struct region *region;
	uint64_t time_ns, mono_ns;
	unsigned hz; /* asked for */
	uint64_t period_ns;
	unsigned processors;
	size_t count;
	uint64_t cut_short, drains;
	bool gave_up;        /* its timers, to the program */
	struct tally others; /* of what has no room */
	struct tally *slot[SLOTS];
	size_t comment_count;
	const char *comments[COMMENTS_MOST];
};

static struct {
	uint64_t period_ns; /* atomic; 0: no profile */
	bool by_interval;   /* the fall-back */
	bool is_beginning;  /* its timers are being made */
	uint64_t random;    /* atomic */
	struct profile *profile;
	bool for_trace; /* the profile is nobody's: its samples go to a trace alone */
} cpu FORKED;

static void sample(struct unwind_frame f, uint32_t weight)
{
	uint32_t number;
	struct sample *s = ring_begin(&number);
	if (!s)
		return;
	s->weight = weight;
	s->time_ns = trace_is_on() ? clock_ns(CLOCK_MONOTONIC) : 0;
	sample_take(s, f);
	ring_commit(s, number);
}

/* The CPU time that this tick stands for. */
static uint64_t credit_us(int overrun)
{
	uint64_t used_us = ((uint64_t)(overrun > 0 ? overrun : 0) + 1) * CPU_EXPIRY_NS / 1000;
	if (self.cpu_age_us >= YOUNG_US)
		return used_us;
	self.cpu_age_us += (uint32_t)(used_us < YOUNG_US ? used_us : YOUNG_US);
	return clock_tick_ns() / 1000;
}

/* CPU time from 1 us to a period, spread evenly (Weyl's sequence). */
static uint32_t draw_us(uint64_t period_us)
{
	uint64_t n = __atomic_add_fetch(&cpu.random, 1, __ATOMIC_RELAXED) * 0x9e3779b97f4a7c15u;
	return (uint32_t)((__uint128_t)n * period_us >> 64) + 1;
}

bool cpu_tick(struct unwind_frame f, int overrun)
{
	uint64_t period_us = __atomic_load_n(&cpu.period_ns, __ATOMIC_ACQUIRE) / 1000;
	uint32_t *due_us = &self.cpu_due_us, weight = 0;
	if (!period_us)
		return false;
	if (*due_us == 0 || *due_us > period_us)
		*due_us = draw_us(period_us);
	int64_t left_us = (int64_t)*due_us - (int64_t)credit_us(overrun);
	for (; left_us <= 0; left_us += (int64_t)period_us)
		weight++;
	*due_us = (uint32_t)left_us;
	if (weight)
		sample(f, weight);
	return true;
}

void cpu_interval(struct unwind_frame f)
{
	if (__atomic_load_n(&cpu.period_ns, __ATOMIC_ACQUIRE))
		sample(f, 1);
}

static void begin_comment(char text[COMMENT_BYTES], struct line *l)
{
	*l = (struct line){text, COMMENT_BYTES, 0};
}

static void comment(struct profile *p, const struct line *l)
{
	char *copy = p->comment_count < COMMENTS_MOST ? region_alloc(p->region, l->len + 1) : NULL;
	if (copy)
		p->comments[p->comment_count++] = memcpy(copy, l->at, l->len);
}

static void comment_count(struct profile *p, uint64_t count, const char *what)
{
	char text[COMMENT_BYTES];
	struct line l;
	if (!count)
		return;
	begin_comment(text, &l);
	line_dec(&l, (int64_t)count);
	line_str(&l, what);
	comment(p, &l);
}

/* One interval timer for the process, because of `why`, or of an error. */
static void fall_back(struct profile *p, const char *why, int error)
{
	char text[COMMENT_BYTES];
	struct line l;
	begin_comment(text, &l);
	line_str(&l, why);
	if (error) {
		line_str(&l, " (error ");
		line_dec(&l, -error);
		line_str(&l, ")");
	}
	if (signals_begin_fallback(p->period_ns) == 0) {
		cpu.by_interval = true;
		ticks_end();
		line_str(&l, ": sampled by setitimer(ITIMER_PROF) and SIGPROF instead, which favours some threads; "
		             "raise the limit of pending signals (ulimit -i)");
	} else {
		line_str(&l, ", and the program uses SIGPROF itself: some threads are not sampled; "
		             "raise the limit of pending signals (ulimit -i)");
	}
	comment(p, &l);
}

/* Timers for all; if some can't be had, one interval timer for the process. */
static void start_timers(struct profile *p)
{
	struct region scratch = {0};
	quota_look();
	ticks_begin();
	int error = ticks_arm_all(&scratch);
	region_release(&scratch);
	if (error)
		fall_back(p, "not every thread could get a timer", error);
}

/* The program may have needed what the timers took, and then there are none any more. */
static void keep_timers(struct profile *p)
{
	struct region scratch = {0};
	if (cpu.by_interval || p->gave_up)
		return;
	timers_end_lost_pause();
	quota_look();
	ticks_arm_all(&scratch);
	region_release(&scratch);
	p->gave_up = ticks_given_up();
	if (p->gave_up)
		fall_back(p, "the program needed the pending signals that the timers take, and got them", 0);
}

static unsigned count_processors(void)
{
	uint64_t set[64] = {0};
	unsigned n = 0;
	long bytes = os_call(SYS_sched_getaffinity, house_pid(), sizeof set, set);
	for (long i = 0; i < bytes / 8; i++)
		for (uint64_t left = set[i]; left; left &= left - 1)
			n++;
	return n ? n : 1;
}

static struct profile *new_profile(struct region *r, unsigned hz)
{
	struct profile *p = region_alloc(r, sizeof *p);
	if (!p)
		return NULL;
	p->region = r;
	p->others = (struct tally){.stack = &stacks_others, .name = ""};
	p->hz = hz;
	p->processors = count_processors();
	p->time_ns = os_clock_ns(CLOCK_REALTIME);
	p->mono_ns = os_clock_ns(CLOCK_MONOTONIC);
	return p;
}

static int begin(struct region *r, unsigned hz)
{
	hz = hz ? hz : (unsigned)settings.cpu_hz;
	struct profile *p = new_profile(r, hz);
	if (!p || ring_start() < 0)
		return -ENOMEM;
	sample_start();
	if (signals_quiesce(0)) {
		ring_forget_late();
		sample_forget_late();
	}
	int error = signals_begin();
	if (error)
		return error;
	uint64_t asked_ns = 1000000000u / hz, tick_ns = clock_tick_ns();
	p->period_ns = asked_ns > tick_ns ? asked_ns : tick_ns;
	cpu.random = p->mono_ns;
	cpu.by_interval = false;
	cpu.profile = p;
	__atomic_store_n(&cpu.period_ns, p->period_ns, __ATOMIC_SEQ_CST);
	cpu.is_beginning = true; /* others may have their turn meanwhile */
	start_timers(p);
	cpu.is_beginning = false;
	return 0;
}

int snapshot_cpu_begin(struct region *r, unsigned hz)
{
	while (cpu.is_beginning)
		if (pace_sleep(BEGINNING_MS) || !pace_is_task())
			return -EBUSY;
	if (cpu.for_trace)
		cpu_trace_ends();
	return cpu.profile ? -EBUSY : begin(r, hz);
}

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

/* NULL: there is no room. Half of what there is for requests is left to the answer. */
static struct tally *new_tally(struct profile *p, const struct sample *s, uint32_t hash)
{
	if (p->region->bytes > arena_requests_bytes() / 2)
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

static void add(struct profile *p, struct sample *s)
{
	bool was_short = s->is_short;
	sample_finish(s);
	s->name[sizeof s->name - 1] = '\0';
	if (trace_is_on() && s->time_ns)
		trace_cpu(s);
	if (cpu.for_trace)
		return;
	uint32_t hash = hash_of(s);
	struct tally *t = p->slot[hash % SLOTS];
	while (t && !is_of(t, s, hash))
		t = t->next;
	if (!t)
		t = new_tally(p, s, hash);
	if (!t)
		t = &p->others;
	t->count++;
	t->ns += s->weight * p->period_ns;
	p->cut_short += was_short;
}

static void take_samples(struct profile *p)
{
	struct sample *s;
	while ((s = ring_front())) {
		add(p, s);
		ring_next();
	}
}

/* So often that the ring is at most half full, if every processor is busy. */
static unsigned drain_ms(const struct profile *p)
{
	uint64_t ms = ring_places() * p->period_ns / 1000000 / (2 * p->processors);
	unsigned most = p->drains < FIRST_DRAINS ? DRAIN_FIRST_MS : DRAIN_MOST_MS;
	return ms < DRAIN_LEAST_MS ? DRAIN_LEAST_MS : ms > most ? most : (unsigned)ms;
}

unsigned snapshot_cpu_drain(void)
{
	struct profile *p = cpu.profile;
	if (!p)
		return DRAIN_MOST_MS;
	take_samples(p);
	keep_timers(p);
	signals_keep();
	p->drains++;
	return drain_ms(p);
}

/* Threads that worked and have no sample: a list of suspects. */
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
	if (__atomic_load_n(&t->timer, __ATOMIC_RELAXED) == THREAD_NO_TIMER || s->count == COMMENTS_MOST)
		return;
	int tid = __atomic_load_n(&t->tid, __ATOMIC_RELAXED);
	uint64_t used = timers_cpu_ns(tid); /* 0 of a thread that has ended */
	if (used > t->armed_cpu_ns + 4 * s->profile->period_ns)
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
		struct line l;
		if (has_samples(p, s.tid[i]) || !tasks_blocks(s.tid[i], SIGNALS_OURS))
			continue;
		const char *name = tasks_name(p->region, s.tid[i]);
		begin_comment(text, &l);
		line_str(&l, "thread ");
		line_dec(&l, s.tid[i]);
		line_str(&l, " (");
		line_str(&l, name ? name : "");
		line_str(&l, ") not sampled: it blocks signal 33, which the timers use");
		comment(p, &l);
	}
}

static void stop(void)
{
	__atomic_store_n(&cpu.period_ns, 0, __ATOMIC_SEQ_CST);
	if (cpu.by_interval)
		signals_end_fallback();
	ticks_end();
	signals_end();
	cpu.profile = NULL;
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

static void make_comments(struct profile *p)
{
	uint64_t possible_hz = 1000000000u / p->period_ns;
	if (possible_hz < p->hz) {
		char text[COMMENT_BYTES];
		struct line l;
		begin_comment(text, &l);
		line_dec(&l, (int64_t)possible_hz);
		line_str(&l, " samples a second, not ");
		line_dec(&l, (int64_t)p->hz);
		line_str(&l, ": the kernel looks at CPU timers at its ticks alone");
		comment(p, &l);
	}
	comment_count(p, ring_lost(), " samples lost: the ring was full, or a thread was stopped while it wrote one");
	comment_count(p, p->others.count,
	              " samples counted at other_stacks, in place of their own: the profiler's own memory is used up; "
	              "raise PPROF_MEMORY_LIMIT");
	comment_count(p, p->cut_short, " samples with short stacks: too much new code at once");
	comment_count(p, ticks_pauses(),
	              " times the timers were taken away for a moment, and samples lost: the program changed its user "
	              "or group");
	comment_count(p, ticks_untimed(),
	              " threads not sampled: they could get no timer; raise the limit of pending signals (ulimit -i)");
}

int snapshot_cpu_end(struct cpu_snapshot *s)
{
	struct profile *p = cpu.profile;
	if (!p)
		return -ENOMEM;
	*s = (struct cpu_snapshot){
		.time_ns = p->time_ns,
		.duration_ns = os_clock_ns(CLOCK_MONOTONIC) - p->mono_ns,
		.period_ns = p->period_ns,
	};
	comment_on_blocked(p); /* while the timers are known */
	if (cpu.by_interval && signals_interval_given_up()) {
		static const char text[] = "the program took SIGPROF for itself: not sampled to the end";
		comment(p, &(struct line){(char *)text, sizeof text, sizeof text - 1});
	}
	stop();
	signals_quiesce(QUIET_MS);
	do
		take_samples(p);
	while (ring_skip());
	make_comments(p);
	int r = make_rows(p, s);
	s->comment_count = p->comment_count;
	s->comments = p->comments;
	return r;
}

void snapshot_cpu_abandon(void)
{
	if (!cpu.profile)
		return;
	stop();
	signals_quiesce(QUIET_MS);
	ring_empty();
}

/* A trace shows samples, too: those of a profile while one is taken, else its own. */
int cpu_trace_begins(struct region *r)
{
	if (cpu.profile)
		return 0;
	int error = begin(r, 0);
	cpu.for_trace = !error;
	return error;
}

int cpu_trace_drain(struct region *r)
{
	int error = cpu_trace_begins(r);
	if (cpu.for_trace)
		snapshot_cpu_drain();
	return error;
}

void cpu_trace_ends(void)
{
	struct profile *p = cpu.profile;
	if (!p || !cpu.for_trace)
		return;
	stop();
	signals_quiesce(QUIET_MS);
	do
		take_samples(p);
	while (ring_skip());
	cpu.for_trace = false;
}

/* Timers are not inherited; an interval timer neither. */
FORKED_CODE void cpu_fork_child(void)
{
	cpu.period_ns = 0;
	cpu.profile = NULL;
	cpu.for_trace = false;
	cpu.by_interval = false;
	cpu.is_beginning = false;
}
