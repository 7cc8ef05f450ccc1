/* cpu.c - CPU samples: one timer per thread on its CPU clock; samples go through a ring.
 *
 * Runs in: listener; signal handler (cpu_tick, cpu_interval).
 * Shared: `cpu.period_ns` says to handlers whether samples are taken. The rest is the listener's; the timers are in
 * ticks.c.
 *
 * The rate. The kernel checks CPU timers only at its ticks (clock_tick_ns), so no thread is sampled more often than
 * that. What a thread does after its last tick is never seen: half a tick on average. If periods divided the CPU time
 * of a thread, that would lose a third of a thread of 5 ms. So for young threads periods divide ticks: each tick stands
 * for one tick's time, whatever CPU time the thread has used since the one before, as every tick of a busy processor
 * falls on some thread. For older threads each tick stands for the CPU time since the one before: the end no longer
 * matters then, and ticks get lost (if a hypervisor takes the processor away). Timers expire at every tick (their
 * period is a microsecond). Of each period's worth of ticks one is sampled, and the first is drawn at random:
 * systematic sampling with a random start (W. Cochran, Sampling Techniques, 8.1), unbiased for threads however short
 * they live. A tick that is not sampled costs a signal that returns at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/cpu.h"

#include <errno.h>

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/settings.h"
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
	BEGINNING_MS = 2,
};

static struct {
	uint64_t period_ns; /* atomic; 0: no samples are taken */
	uint64_t random;    /* atomic */
	bool is_beginning;  /* the timers of a run are being made */
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

/* Returns a CPU time from 1 us to a period, evenly distributed (Weyl's sequence). */
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
	if (signals_begin_fallback(run->period_ns) == 0) {
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
	run->gave_up = !run->is_over && ticks_given_up(); /* over: a profile began during a pause here */
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

/* Passes samples to the trace, if there is one, and to the user of the run. */
static void take_samples(struct cpu_run *run)
{
	struct sample *s;
	while ((s = ring_front())) {
		bool was_short = s->is_short;
		sample_finish(s);
		s->name[sizeof s->name - 1] = '\0';
		if (trace_is_on() && s->time_ns)
			trace_cpu(s);
		if (run->take)
			run->take(run, s, was_short);
		ring_next();
	}
}

static void stop(struct cpu_run *run)
{
	__atomic_store_n(&cpu.period_ns, 0, __ATOMIC_SEQ_CST);
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
		take_samples(run);
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

int cpu_begin(struct cpu_run *run)
{
	while (cpu.is_beginning)
		if (pace_sleep(BEGINNING_MS) || !pace_is_task())
			return -EBUSY;
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
	cpu.random = run->mono_ns;
	cpu.run = run;
	__atomic_store_n(&cpu.period_ns, run->period_ns, __ATOMIC_SEQ_CST);
	cpu.is_beginning = true; /* other tasks may run meanwhile */
	start_timers(run);
	cpu.is_beginning = false;
	return 0;
}

/* Returns an interval at which the ring is at most half full if every processor is busy. */
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
	take_samples(run);
	keep_timers(run);
	if (!run->is_over)
		signals_keep();
	run->drains++;
	return drain_ms(run);
}

/* Timers are not inherited, nor is an interval timer. */
FORKED_CODE void cpu_fork_child(void)
{
	cpu.period_ns = 0;
	cpu.run = NULL;
	cpu.is_beginning = false;
}
