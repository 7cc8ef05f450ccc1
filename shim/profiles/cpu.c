/* cpu.c - CPU samples: one timer per thread on its CPU clock; samples go through a ring.
 *
 * Runs in: listener; signal handler (cpu_tick, cpu_interval).
 * Shared: `cpu.period_ns` says to handlers whether samples are taken. The rest is the listener's; the timers are in
 * ticks.c.
 *
 * The rate. The kernel checks CPU timers only at its ticks (clock_tick_ns), so no thread is sampled more often than
 * that. The profiler never sees what a thread does after its last tick: half a tick on average. If periods counted
 * the CPU time of each thread, a thread that lives for 5 ms would lose 2 ms of it (with ticks of 4 ms). So while a
 * thread is young, each tick counts as one whole tick, whatever CPU time the thread has used since the last one. That
 * is right on average: each tick of a busy processor hits some thread. Later, each tick counts as the CPU time since
 * the last tick: the rest that is not seen matters little then, and ticks get lost (if a hypervisor takes the processor
 * away). Timers expire at every tick, as their period is a microsecond.
 *
 * The choice. One tick of each period is sampled, at a random place of the period: stratified sampling (W. Cochran,
 * Sampling Techniques, 5A). If all distances were alike, work that repeats in step with them would show one of its
 * parts and hide another. A random place in each period is unbiased for any work and for threads of any age, and the
 * total is off by at most one period a thread. The place is not drawn beforehand. Instead each tick is drawn: if it has
 * length c, r of the period is left, and the place has not come yet, it is this tick with probability c / r. That comes
 * to the same. A tick that is not sampled costs a signal that returns at once. (A timer that is armed anew for each
 * place would cost a system call a sample. It would still be late by up to a tick, and it would be lost where the
 * handler may not make the call.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/cpu.h"

#include <errno.h>
#include <string.h>

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/losses.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/settings.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/profiles/quota.h"
#include "shim/profiles/ticks.h"
#include "shim/profiles/trace_events.h"
#include "shim/stack/ring.h"
#include "shim/threads/threads.h"
#include "shim/threads/timers.h"
#include "shim/waits/signals.h"

enum {
	YOUNG_US = 100000,
	DRAIN_LEAST_MS = 5,
	DRAIN_FIRST_MS = 50, /* often at first, when the unwinder knows no rules */
	DRAIN_MOST_MS = 100,
	FIRST_DRAINS = 20,
	QUIET_MS = 100,
};

static struct {
	shared_u64 period_ns; /* 0: no samples are taken */
	shared_u64 random;
	shared_u32 number;          /* of the run, modulo PHASE_RUNS */
	shared_u32 interval_phase;  /* a struct phase: the fall-back's, of the process */
	struct pace_turn beginning; /* the timers of a run are being made */
	struct cpu_run *run;
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

/* Returns the CPU time that this tick stands for. */
static uint64_t credit_us(int overrun)
{
	uint64_t used_us = ((uint64_t)(overrun > 0 ? overrun : 0) + 1) * CPU_EXPIRY_NS / 1000;
	if (self.cpu_age_us >= YOUNG_US)
		return used_us;
	self.cpu_age_us += (uint32_t)(used_us < YOUNG_US ? used_us : YOUNG_US);
	return clock_tick_ns() / 1000;
}

/* Where a thread is in its period, in the 32 bits of self.cpu_phase. */
enum { PHASE_RUNS = 1 << 10 };
struct phase {
	uint32_t left_us : 21; /* of the period; 0: it has none yet */
	uint32_t is_taken : 1; /* the period has its sample */
	uint32_t run : 10;     /* cpu.number of the run that this belongs to */
};
_Static_assert(sizeof(struct phase) == sizeof self.cpu_phase, "it is kept there");

/* Returns a number below `below`, each as likely: splitmix64 (Steele, Lea, Flood 2014) of a counter that threads share.
 * The numbers of a simpler generator could correlate with periodic work. */
static uint32_t draw(uint32_t below)
{
	const uint64_t STEP = 0x9e3779b97f4a7c15u;
	uint64_t n = shared_add_relaxed(&cpu.random, STEP) + STEP;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
	n = (n ^ n >> 27) * 0x94d049bb133111ebu;
	n ^= n >> 31;
	return (uint32_t)((n >> 32) * below >> 32);
}

/* Moves on within a period. Returns 1 if the place of its sample lay there, else 0. */
static uint32_t pass(struct phase *p, uint32_t part_us)
{
	bool is_there = !p->is_taken && draw(p->left_us) < part_us;
	p->is_taken |= is_there;
	p->left_us -= part_us;
	return is_there;
}

/* Moves on by the CPU time of a tick. Returns how many samples it stands for. */
static uint32_t advance(struct phase *p, uint64_t used_us, uint32_t period_us)
{
	if (used_us < p->left_us)
		return pass(p, (uint32_t)used_us);
	used_us -= p->left_us;
	uint32_t samples = pass(p, p->left_us) + (uint32_t)(used_us / period_us);
	p->left_us = period_us;
	p->is_taken = false;
	return samples + pass(p, (uint32_t)(used_us % period_us));
}

/* Advances a phase. A phase of an earlier run starts over first. Returns how many samples to take. */
static uint32_t advance_word(uint32_t *phase, uint64_t used_us, uint32_t period_us)
{
	uint32_t run = shared_load_relaxed(&cpu.number);
	struct phase p;
	memcpy(&p, phase, sizeof p);
	if (!p.left_us || p.run != run)
		p = (struct phase){.left_us = period_us, .run = run};
	uint32_t samples = advance(&p, used_us, period_us);
	memcpy(phase, &p, sizeof p);
	return samples;
}

bool cpu_tick(struct unwind_frame f, int overrun)
{
	uint64_t period_us = shared_load_acquire(&cpu.period_ns) / 1000;
	if (!period_us)
		return false;
	uint32_t weight = advance_word(&self.cpu_phase, credit_us(overrun), (uint32_t)period_us);
	if (weight)
		sample(f, weight);
	return true;
}

/* The interval timer expires once for each tick's worth of the process's CPU time. */
void cpu_interval(struct unwind_frame f)
{
	uint64_t period_us = shared_load_acquire(&cpu.period_ns) / 1000;
	uint32_t before = shared_load_relaxed(&cpu.interval_phase), after, weight;
	if (!period_us)
		return;
	do {
		after = before;
		weight = advance_word(&after, clock_tick_ns() / 1000, (uint32_t)period_us);
	} while (!shared_cas_relaxed(&cpu.interval_phase, &before, after));
	if (weight)
		sample(f, weight);
}

/* Uses one interval timer for the process, because of `why`, or of an error. */
static void fall_back(struct cpu_run *run, const char *why, int error)
{
	char text[COMMENT_BYTES];
	struct line l = LINE(text);
	line_str(&l, why);
	if (error) {
		line_str(&l, " (error ");
		line_dec(&l, -error);
		line_str(&l, ")");
	}
	if (signals_begin_fallback(clock_tick_ns()) == 0) {
		run->by_interval = true;
		ticks_end();
		line_str(&l, ": sampled by setitimer(ITIMER_PROF) and SIGPROF instead, which favours some threads; "
		             "raise the limit of pending signals (ulimit -i)");
	} else {
		line_str(&l, ", and the program uses SIGPROF itself: some threads are not sampled; "
		             "raise the limit of pending signals (ulimit -i)");
	}
	comments_add(&run->comments, &l);
}

/* Makes timers for all threads; if some can't be had, one interval timer for the process. */
static void start_timers(struct cpu_run *run)
{
	struct region scratch = {0};
	quota_look();
	ticks_begin();
	int error = ticks_arm_all(&scratch);
	region_release(&scratch);
	if (error)
		fall_back(run, "not every thread could get a timer", error);
}

/* Makes timers for new threads. If the program needed what the timers use, there are none any more. */
static void keep_timers(struct cpu_run *run)
{
	struct region scratch = {0};
	if (run->by_interval || run->gave_up)
		return;
	timers_end_lost_pause();
	quota_look();
	ticks_arm_all(&scratch);
	region_release(&scratch);
	run->gave_up = !run->is_over && ticks_given_up(); /* arming lets other tasks run: one may have ended this run */
	if (run->gave_up)
		fall_back(run, "the program needed the pending signals that the timers take, and got them", 0);
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

/* Passes a sample to the trace, if there is one, and to the user of the run. */
static void take_sample(struct cpu_run *run, struct sample *s)
{
	bool was_short = s->is_short;
	sample_finish(s);
	s->name[sizeof s->name - 1] = '\0';
	if (!s->depth) {
		losses_count(own_code);
		return;
	}
	if (trace_is_on() && s->time_ns)
		trace_cpu(s);
	if (run->take)
		run->take(run, s, was_short);
}

void cpu_take(struct cpu_run *run)
{
	struct sample *s;
	while ((s = ring_front())) {
		take_sample(run, s);
		ring_next();
	}
}

static void stop(struct cpu_run *run)
{
	shared_store_seq_cst(&cpu.period_ns, 0);
	if (run->by_interval)
		signals_end_fallback();
	ticks_end();
	signals_end();
	run->is_over = true;
	cpu.run = NULL;
}

void cpu_end(struct cpu_run *run, enum cpu_rest rest)
{
	if (run->is_over)
		return;
	if (run->by_interval && signals_interval_given_up()) {
		static const char text[] = "the program took SIGPROF for itself: not sampled to the end";
		comments_add(&run->comments, &(struct line){(char *)text, sizeof text, sizeof text - 1});
	}
	stop(run);
	signals_quiesce(QUIET_MS);
	if (rest == CPU_DROP_REST) {
		ring_empty();
		return;
	}
	do
		cpu_take(run);
	while (ring_skip());
}

bool cpu_is_on(void)
{
	return cpu.run != NULL;
}

/* Prepares what a run needs of the rest of shim/. Returns 0, or a negative errno. */
static int prepare(void)
{
	if (ring_start() < 0)
		return -ENOMEM;
	sample_start();
	if (signals_quiesce(0)) {
		ring_forget_late();
		sample_forget_late();
	}
	return signals_begin();
}

static int begin_in_turn(struct cpu_run *run)
{
	if (cpu.run && cpu.run->purpose == CPU_FOR_TRACE)
		cpu_end(cpu.run, CPU_TAKE_REST);
	if (cpu.run)
		return -EBUSY;
	run->hz = run->hz ? run->hz : (unsigned)settings.cpu_hz;
	run->comments.region = run->region;
	run->processors = count_processors();
	run->time_ns = os_clock_ns(CLOCK_REALTIME);
	run->mono_ns = os_clock_ns(CLOCK_MONOTONIC);
	int error = prepare();
	if (error)
		return error;
	uint64_t asked_ns = 1000000000u / run->hz, tick_ns = clock_tick_ns();
	run->period_ns = asked_ns > tick_ns ? asked_ns : tick_ns;
	shared_set_own(&cpu.random, run->mono_ns);
	shared_store_relaxed(&cpu.number, (shared_own(&cpu.number) + 1) % PHASE_RUNS);
	cpu.run = run;
	shared_store_seq_cst(&cpu.period_ns, run->period_ns);
	start_timers(run);
	return 0;
}

int cpu_begin(struct cpu_run *run)
{
	if (!pace_take_turn(&cpu.beginning)) /* other tasks may run while timers are made */
		return -EBUSY;
	int error = begin_in_turn(run);
	pace_leave_turn(&cpu.beginning);
	return error;
}

/* Returns the interval of drains, in milliseconds: with all processors busy the ring gets at most half full, unless
 * that needs less than DRAIN_LEAST_MS. */
static unsigned drain_ms(const struct cpu_run *run)
{
	uint64_t ms = ring_places() * run->period_ns / 1000000 / (2 * run->processors);
	unsigned most = run->drains < FIRST_DRAINS ? DRAIN_FIRST_MS : DRAIN_MOST_MS;
	return ms < DRAIN_LEAST_MS ? DRAIN_LEAST_MS : ms > most ? most : (unsigned)ms;
}

unsigned cpu_drain(struct cpu_run *run)
{
	if (run->is_over)
		return DRAIN_MOST_MS;
	cpu_take(run);
	keep_timers(run);
	if (!run->is_over)
		signals_keep();
	run->drains++;
	return drain_ms(run);
}

/* Timers are not inherited, nor is an interval timer. */
FORKED_CODE void cpu_fork_child(void)
{
	shared_set_own(&cpu.period_ns, 0);
	cpu.run = NULL;
}

/* A new listener ends the run of an old one. It does not follow `run`, whose memory may be gone. All users of our
 * signals ended with the old listener. */
void cpu_begin_anew(void)
{
	if (!cpu.run)
		return;
	shared_store_seq_cst(&cpu.period_ns, 0);
	if (!signals_interval_given_up())
		signals_end_fallback();
	ticks_end();
	cpu.run = NULL;
}
