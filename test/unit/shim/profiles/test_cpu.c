/* test_cpu.c - CPU profiles of threads that work for a known time at known places.
 *
 * Runs in: its own process, with real timers; the main thread of a child takes the profile, as the listener would. What
 * is measured is CPU time, so other load on the machine matters little; what has to do with chance is measured up to
 * six times. A busy machine takes something off a thread's first 100 ms, in which ticks count, not time (cpu.c says
 * why): threads work for far longer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/cpu.c shim/profiles/cpu_profile.c shim/profiles/comments.c
 * links: shim/stack/ring.c shim/stack/sample.c shim/waits/signals.c shim/waits/waits.c
 * links: shim/waits/restart.c shim/profiles/deadlock.c shim/threads/threads.c shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/libc/libc_thread.c shim/profiles/ticks.c shim/profiles/quota.c shim/threads/tasks.c shim/base/powers.c
 * links: shim/profiles/sampling.c shim/libc/clock.c
 * links: shim/stack/unwind.c shim/stack/learn.c shim/stack/own_stack.c shim/stack/unwind_libc.c shim/libc/modules.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/settings.c shim/stack/stacks.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c shim/waits/calls.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/profiles/cpu.h"
#include "shim/profiles/dump.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/profiles/quota.h"
#include "shim/stack/ring.h"
#include "shim/base/settings.h"
#include "shim/snapshot.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/listener/visitor.h"
#include "shim/profiles/ticks.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/waits.h"
#include "test/unit/support/asker.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* a handler may find the sanitizer at work, and copies stacks */
#else
#define SANITIZED 0
#endif

static bool is_no_knock(const siginfo_t *info)
{
	(void)info;
	return false;
}

/* The listener here is a thread of the process: it has no use for a visitor. */
static const struct signals_takers takers = {.tick = cpu_tick, .interval = cpu_interval, .is_knock = is_no_knock};

void trace_cpu(const struct sample *s) /* trace_events.c's */
{
	(void)s;
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The main thread being the listener, another one stands for the program's. */
static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	signals_start(&takers);
	modules_on_change(unwind_forget);
	threads_start();
	shared_set_own(&self.thread->tid, 0); /* it gets no timer */
	clock_start();
	modules_refresh();
	pthread_t other;
	CHECK(pthread_create(&other, NULL, sleep_on, NULL) == 0);
}

static void in_one_child_of_six(void (*body)(void))
{
	for (int i = 1; i < 6; i++)
		if (child_status(child_begin, body) == 0)
			return;
	in_child_after(child_begin, body);
}

/* --- work at known places ---------------------------------------------------------------------------- */

#define PLACE(name) __attribute__((noinline, noclone, section("place_" #name)))
#define BOUNDS(name) extern const char __start_place_##name[], __stop_place_##name[];
BOUNDS(red)
BOUNDS(blue)
#define IS_IN(pc, name) \
	((pc) - (uintptr_t)__start_place_##name < (uintptr_t)(__stop_place_##name - __start_place_##name))

static uint64_t used_ns(void)
{
	return os_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Steps, not time: where a thread reads its CPU clock, the kernel sees that its slice is over, and on a busy machine
 * gives the processor to another, again and again before the tick that would have sampled it. What the steps took is
 * read afterwards. */
#define WORK \
	for (volatile uint64_t left = steps; left; left--) \
		continue; \
	return 0

static PLACE(red) int work_red(uint64_t steps)
{
	WORK;
}

static PLACE(blue) int work_blue(uint64_t steps)
{
	WORK;
}

static uint64_t steps_in_ms; /* about */

static int measure_steps(void **state)
{
	enum { STEPS = 2000000 };
	uint64_t least = UINT64_MAX;
	(void)state;
	for (int i = 0; i < 8; i++) {
		uint64_t before = used_ns();
		work_red(STEPS);
		uint64_t took = used_ns() - before;
		least = took < least ? took : least;
	}
	steps_in_ms = STEPS * 1000000ull / (least + 1);
	return 0;
}

static struct worker {
	const char *name;
	unsigned red_ms, blue_ms;
	bool deaf, known_late; /* blocks signal 33; is found by the profiler, does not make itself known */
	int tid;
	uint64_t red_ns, blue_ns; /* that they took */
	uint64_t used_ns;         /* atomic; of both, and set when they are done */
	pthread_t thread;
} workers[300];
static pthread_barrier_t begun;
static bool meet;

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	if (w->name)
		prctl(PR_SET_NAME, w->name);
	w->tid = os_tid();
	uint64_t mask = 1ull << 32;
	if (w->deaf)
		os_call(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, 8);
	if (!w->known_late)
		ticks_thread_begins(threads_enter_self());
	if (meet)
		pthread_barrier_wait(&begun);
	uint64_t before = used_ns();
	if (w->red_ms)
		work_red(w->red_ms * steps_in_ms);
	uint64_t between = used_ns();
	if (w->blue_ms)
		work_blue(w->blue_ms * steps_in_ms);
	uint64_t after = used_ns();
	w->red_ns = between - before;
	w->blue_ns = after - between;
	__atomic_store_n(&w->used_ns, after - before, __ATOMIC_RELEASE);
	return NULL;
}

static void start(int count)
{
	for (int i = 0; i < count; i++)
		CHECK(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0);
}

static void drain_until_done(int count)
{
	uint64_t next = 0;
	for (bool done = false; !done; usleep(2000)) {
		done = true;
		for (int i = 0; i < count; i++)
			done &= __atomic_load_n(&workers[i].used_ns, __ATOMIC_ACQUIRE) != 0;
		uint64_t now = os_clock_ns(CLOCK_MONOTONIC);
		if (now < next)
			continue;
		unsigned ms = snapshot_cpu_drain();
		CHECK(ms >= 1 && ms <= 1000);
		next = now + ms * 1000000ull;
	}
}

static uint64_t join(int count)
{
	uint64_t sum = 0;
	for (int i = 0; i < count; i++) {
		pthread_join(workers[i].thread, NULL);
		sum += workers[i].used_ns;
	}
	return sum;
}

static struct region region;
static struct cpu_snapshot profile_of(int count, unsigned hz)
{
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, hz) == 0);
	start(count);
	drain_until_done(count);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	for (size_t i = 0; i < s.count; i++) {
		const struct cpu_row *r = &s.rows[i];
		CHECK(r->stack && r->stack->depth >= 1 && r->name && r->count && r->ns == r->count * s.period_ns);
		for (size_t k = 0; k < i; k++) /* a row for each stack of each thread */
			CHECK(r->tid != s.rows[k].tid || strcmp(r->name, s.rows[k].name) != 0 ||
			      r->stack->depth != s.rows[k].stack->depth ||
			      memcmp(r->stack->pc, s.rows[k].stack->pc, r->stack->depth * sizeof *r->stack->pc) != 0);
	}
	return s;
}

enum color { ANY, RED, BLUE };
static uint64_t ns_of(const struct cpu_snapshot *s, int tid, enum color color)
{
	uint64_t ns = 0;
	for (size_t i = 0; i < s->count; i++) {
		bool red = false, blue = false;
		for (size_t k = 0; k < s->rows[i].stack->depth; k++) {
			red |= IS_IN(s->rows[i].stack->pc[k], red);
			blue |= IS_IN(s->rows[i].stack->pc[k], blue);
		}
		if ((!tid || s->rows[i].tid == tid) && (color == ANY || (color == RED ? red : blue)))
			ns += s->rows[i].ns;
	}
	return ns;
}

static bool is_near(uint64_t got, uint64_t want, unsigned percent)
{
	uint64_t off = got > want ? got - want : want - got;
	bool near = off * 100 <= want * percent;
	if (!near)
		dprintf(2, "# %d ms, not %d ms\n", (int)(got / 1000000), (int)(want / 1000000));
	return near;
}

/* Work of this thread in step with its CPU clock, without the clock: a tick comes every `tick_us`, and work is red
 * for the first `red_us` of each cycle. Returns the periods, and writes how many samples were red, and how many in all.
 */
static uint64_t tick_in_step(unsigned tick_us, unsigned cycle_us, unsigned red_us, uint64_t *red, uint64_t *all)
{
	enum { SECONDS = 60, DRAIN_US = 100000 };
	static uintptr_t no_callers[64];
	struct unwind_frame f = {.sp = (uintptr_t)no_callers};
	struct cpu_snapshot s;
	uint64_t mask = 1ull << 32, now_us = 0;
	self.cpu_age_us = 100000; /* for a young thread, ticks count as the kernel's */
	CHECK(snapshot_cpu_begin(&region, 100) == 0);
	while ((now_us += tick_us) < SECONDS * 1000000ull) {
		f.pc = (uintptr_t)(now_us % cycle_us < red_us ? __start_place_red : __start_place_blue) + 1;
		os_call(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, 8); /* no true tick */
		CHECK(cpu_tick(f, (int)tick_us - 1));
		os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, 8);
		if (now_us % DRAIN_US < tick_us)
			snapshot_cpu_drain();
	}
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	*red = ns_of(&s, 0, RED) / s.period_ns;
	*all = ns_of(&s, 0, ANY) / s.period_ns;
	return now_us * 1000 / s.period_ns;
}

/* Three points of 6000 samples are 5 standard errors where all of them are drawn alone; in strata there are fewer. */
static void stratified(void)
{
	static const unsigned cycles_us[] = {10000, 20000, 25000, 40000, 50000, 100000, 16180};
	for (size_t i = 0; i < COUNT(cycles_us); i++)
		for (unsigned tick_us = 250; tick_us <= 1000; tick_us *= 4)
			for (unsigned percent = 10; percent <= 70; percent += 60) {
				uint64_t red, all, cycle_us = cycles_us[i];
				uint64_t due = tick_in_step(tick_us, (unsigned)cycle_us,
				                            (unsigned)(cycle_us * percent / 100), &red, &all);
				CHECK(is_near(all * 1000000, due * 1000000, 1));
				CHECK(100 * red + 3 * all >= percent * all && 100 * red <= (percent + 3) * all);
			}
}

static void test_work_in_step_with_the_period_shows_all_its_parts(void **state)
{
	(void)state;
	in_one_child_of_six(stratified); /* where a sample is lost, a thread had no processor */
}

static const char *comment_with(const struct cpu_snapshot *s, const char *text)
{
	for (size_t i = 0; i < s->comment_count; i++)
		if (strstr(s->comments[i], text))
			return s->comments[i];
	return NULL;
}

/* --- time ------------------------------------------------------------------------------------------------ */

static void one_second(void)
{
	workers[0] = (struct worker){.name = "busy", .red_ms = 1000};
	struct cpu_snapshot s = profile_of(1, 0);
	uint64_t used = join(1);
	CHECK(s.period_ns == 10000000 && s.time_ns > 1600000000ull * 1000000000);
	CHECK(s.duration_ns >= used);
	for (size_t i = 0; i < s.comment_count; i++)
		dprintf(2, "# %s\n", s.comments[i]);
	CHECK(s.comment_count == 0);
	CHECK(is_near(ns_of(&s, workers[0].tid, RED), used, 10));
	CHECK(ns_of(&s, 0, BLUE) == 0);
	CHECK(ns_of(&s, 0, ANY) == ns_of(&s, workers[0].tid, ANY)); /* not those that slept, nor the listener */
	for (size_t i = 0; i < s.count; i++)
		CHECK(strcmp(s.rows[i].name, "busy") == 0 && s.rows[i].tid == workers[0].tid);
}

static void test_a_second_of_work_is_a_second_of_the_profile(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(one_second);
}

static void two_stacks(void)
{
	workers[0] = (struct worker){.name = "both", .red_ms = 800, .blue_ms = 800};
	struct cpu_snapshot s = profile_of(1, 200);
	join(1);
	CHECK(s.period_ns == 5000000);
	CHECK(is_near(ns_of(&s, 0, RED), workers[0].red_ns, 15) && is_near(ns_of(&s, 0, BLUE), workers[0].blue_ns, 15));
}

static void test_the_stacks_of_one_thread_are_told_apart(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(two_stacks);
}

static void two_threads(void)
{
	workers[0] = (struct worker){.name = "crimson", .red_ms = 900};
	workers[1] = (struct worker){.name = "azure", .blue_ms = 600, .known_late = true};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun); /* they were there before the profile; one has no record */
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(2);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(2);
	CHECK(is_near(ns_of(&s, workers[0].tid, RED), workers[0].used_ns, 15));
	CHECK(is_near(ns_of(&s, workers[1].tid, BLUE), workers[1].used_ns, 20));
	CHECK(ns_of(&s, workers[0].tid, BLUE) == 0 && ns_of(&s, workers[1].tid, RED) == 0);
	for (size_t i = 0; i < s.count; i++) {
		CHECK(s.rows[i].tid == workers[0].tid || s.rows[i].tid == workers[1].tid);
		CHECK(strcmp(s.rows[i].name, s.rows[i].tid == workers[0].tid ? "crimson" : "azure") == 0);
	}
}

static void test_threads_that_were_there_before_have_their_own_names_and_numbers(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(two_threads);
}

/* Each lives for about a tick: what it does in its last one counts, too. */
static void short_lives(void)
{
	enum { MANY = 240, AT_ONCE = 2 };
	uint64_t used = 0;
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	for (int i = 0; i < MANY; i += AT_ONCE) {
		for (int k = 0; k < AT_ONCE; k++)
			workers[k] = (struct worker){.red_ms = 6};
		start(AT_ONCE);
		used += join(AT_ONCE);
		if (i % 10 == 0)
			snapshot_cpu_drain();
	}
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	CHECK(is_near(ns_of(&s, 0, RED), used, 25));
}

static void test_threads_of_a_few_milliseconds_are_counted_right_together(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(short_lives);
}

/* --- limits -------------------------------------------------------------------------------------------- */

static void too_fast(void)
{
	if (clock_tick_ns() <= 1000000)
		_exit(CHILD_SKIPPED);
	workers[0] = (struct worker){.red_ms = 600};
	struct cpu_snapshot s = profile_of(1, 1000);
	CHECK(s.period_ns == clock_tick_ns());
	char want[64];
	snprintf(want, sizeof want, "%d samples a second, not 1000", (int)(1000000000 / clock_tick_ns()));
	CHECK(comment_with(&s, want));
	CHECK(is_near(ns_of(&s, 0, RED), join(1), 20));
}

static void test_a_rate_above_the_kernels_tick_is_cut_down_and_said(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(too_fast);
}

static void no_timers(void)
{
	struct rlimit none = {0, 0};
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	workers[0] = (struct worker){.red_ms = 500};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	const char *comment = comment_with(&s, "setitimer");
	CHECK(comment && strstr(comment, "ulimit -i") && strstr(comment, "(error 11)"));
	CHECK(is_near(ns_of(&s, 0, RED), join(1), 30));
	struct itimerval left;
	CHECK(getitimer(ITIMER_PROF, &left) == 0 && !left.it_value.tv_sec &&
	      !left.it_value.tv_usec); /* it is off again */
	CHECK(signal(SIGPROF, SIG_IGN) != SIG_ERR);
}

static void test_without_timers_the_interval_timer_serves_and_that_is_said(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(no_timers);
}

static void on_sigprof(int sig)
{
	(void)sig;
}

static void no_timers_and_no_sigprof(void)
{
	struct rlimit none = {0, 0};
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	struct sigaction action = {.sa_handler = on_sigprof}, after;
	CHECK(sigaction(SIGPROF, &action, NULL) == 0); /* the program's */
	workers[0] = (struct worker){.red_ms = 50};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(1);
	CHECK(s.count == 0 && comment_with(&s, "the program uses SIGPROF itself"));
	CHECK(sigaction(SIGPROF, NULL, &after) == 0 && after.sa_handler == on_sigprof);
}

static void test_a_program_that_uses_sigprof_keeps_it(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, no_timers_and_no_sigprof);
}

static void deaf_thread(void)
{
	workers[0] = (struct worker){.name = "deaf", .red_ms = 800, .deaf = true};
	workers[1] = (struct worker){.name = "hears", .red_ms = 200};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	while (__atomic_load_n(&workers[1].used_ns, __ATOMIC_ACQUIRE) == 0) {
		snapshot_cpu_drain();
		usleep(10000);
	}
	usleep(1000); /* the deaf one has used as much by now, or has not had a processor */
	bool there = __atomic_load_n(&workers[0].used_ns, __ATOMIC_ACQUIRE) == 0;
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	char want[64];
	snprintf(want, sizeof want, "thread %d (deaf) not sampled", workers[0].tid);
	CHECK(!there || comment_with(&s, want));
	CHECK(!comment_with(&s, "(hears)"));
	CHECK(ns_of(&s, workers[0].tid, ANY) == 0);
	join(2);
	if (!there)
		_exit(CHILD_SKIPPED);
}

static void test_a_thread_that_blocks_our_signal_is_named(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(deaf_thread);
}

/* --- several at a time --------------------------------------------------------------------------------- */

static void shared_run(void)
{
	enum { MOST = 8 };
	struct cpu_snapshot s;
	struct region others[MOST] = {0};
	CHECK(snapshot_cpu_end(&region, &s) != 0);
	snapshot_cpu_abandon(&region); /* nothing */
	CHECK(snapshot_cpu_drain() > 0);
	for (int i = 0; i < 3; i++) {
		CHECK(snapshot_cpu_begin(&region, 0) == 0);
		for (int k = 1; k < MOST; k++)
			CHECK(snapshot_cpu_begin(&others[k], k == 2 ? 50 : 0) == 0);
		CHECK(snapshot_cpu_begin(&others[0], 0) == -EBUSY);
		CHECK(snapshot_cpu_drain() > 0);
		for (int k = 3; k < MOST; k++)
			snapshot_cpu_abandon(&others[k]);
		CHECK(snapshot_cpu_end(&region, &s) == 0 && timers_held() > 0); /* the first one may end first */
		CHECK(s.period_ns == 10000000 && s.count == 0 && !comment_with(&s, "another profile"));
		CHECK(snapshot_cpu_end(&region, &s) != 0);
		CHECK(snapshot_cpu_end(&others[2], &s) == 0);
		CHECK(s.period_ns == 10000000 && comment_with(&s, "100 samples a second, not 50: another profile"));
		CHECK(snapshot_cpu_end(&others[1], &s) == 0 && timers_held() == 0);
		for (int k = 0; k < MOST; k++)
			region_release(&others[k]);
		region_release(&region);
	}
}

static void test_profiles_share_a_run_and_the_last_one_ends_it(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, shared_run);
}

/* Red work, then blue. One profile sees both, one that begins between them only blue, and one that ends there only
 * red. */
static void windows(void)
{
	struct region red = {0}, blue = {0};
	struct cpu_snapshot of_red, of_blue, of_both;
	CHECK(snapshot_cpu_begin(&region, 0) == 0 && snapshot_cpu_begin(&red, 0) == 0);
	workers[0] = (struct worker){.red_ms = 1000};
	start(1);
	drain_until_done(1);
	uint64_t red_ns = join(1);
	CHECK(snapshot_cpu_end(&red, &of_red) == 0 && snapshot_cpu_begin(&blue, 0) == 0);
	workers[0] = (struct worker){.blue_ms = 500};
	start(1);
	drain_until_done(1);
	uint64_t blue_ns = join(1);
	CHECK(snapshot_cpu_end(&region, &of_both) == 0 && snapshot_cpu_end(&blue, &of_blue) == 0);
	CHECK(is_near(ns_of(&of_red, 0, RED), red_ns, 25) && ns_of(&of_red, 0, BLUE) == 0);
	CHECK(is_near(ns_of(&of_blue, 0, BLUE), blue_ns, 25) && ns_of(&of_blue, 0, RED) == 0);
	CHECK(ns_of(&of_both, 0, RED) == ns_of(&of_red, 0, RED));
	CHECK(ns_of(&of_both, 0, BLUE) == ns_of(&of_blue, 0, BLUE));
	CHECK(of_both.duration_ns >= of_red.duration_ns && of_both.duration_ns >= of_blue.duration_ns);
	CHECK(of_blue.time_ns >= of_both.time_ns + of_red.duration_ns);
}

static void test_each_profile_has_its_own_window(void **state)
{
	(void)state;
	in_one_child_of_six(windows);
}

static void no_timer(struct thread *t, void *arg)
{
	(void)arg;
	CHECK(shared_own(&t->timer) == THREAD_NO_TIMER);
}

static void abandoned(void)
{
	workers[0] = (struct worker){.red_ms = 600};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	uint64_t mapped = 0;
	for (int i = 0; i < 8; i++) {
		CHECK(snapshot_cpu_begin(&region, 250) == 0);
		usleep(20000);
		if (i % 2)
			snapshot_cpu_drain();
		snapshot_cpu_abandon(&region);
		region_release(&region);
		usleep(10000);
		CHECK(!ring_front()); /* nobody writes any more */
		threads_each(no_timer, NULL);
		if (i == 3)
			mapped = arena_mapped_bytes();
	}
	CHECK(arena_mapped_bytes() == mapped);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 250) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(1);
}

static void test_an_abandoned_profile_leaves_nothing_behind(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, abandoned);
}

static void count_timer(struct thread *t, void *count)
{
	*(uint32_t *)count += shared_own(&t->timer) != THREAD_NO_TIMER;
}

static uint32_t timers_of_threads(void)
{
	uint32_t count = 0;
	threads_each(count_timer, &count);
	CHECK(timers_held() - count <= 1); /* one more, while signals of theirs may be on their way */
	return count;
}

/* The program needs what the timers take: for a moment, then for good. */
static void given_back(void)
{
	workers[0] = workers[1] = (struct worker){.red_ms = 300};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	quota_pause();
	CHECK(snapshot_cpu_begin(&region, 250) == 0 && timers_of_threads() == 0); /* not now */
	quota_resume();
	CHECK(timers_of_threads() == 3 && quota_is_used());
	for (int i = 0; i < 20; i++) {
		quota_pause();
		quota_pause();
		CHECK(timers_of_threads() == 0);
		snapshot_cpu_drain();
		quota_resume();
		CHECK(timers_of_threads() == 0);
		quota_resume();
		CHECK(timers_of_threads() == 3);
	}
	CHECK(quota_give_back() && timers_of_threads() == 0);
	while (quota_give_back()) /* for a while, until the last signals are taken */
		CHECK(timers_of_threads() == 0);
	CHECK(!quota_is_used());
	quota_pause();
	quota_resume();
	CHECK(timers_of_threads() == 0);
	drain_until_done(2);
	CHECK(timers_of_threads() == 0 && snapshot_cpu_end(&region, &s) == 0);
	CHECK(comment_with(&s, "the program needed the pending signals"));
	CHECK(comment_with(&s, "20 times the timers were taken away"));
	join(2);
	CHECK(snapshot_cpu_begin(&region, 250) == 0 && timers_of_threads() > 0); /* the next one has timers again */
	CHECK(snapshot_cpu_end(&region, &s) == 0 && timers_held() == 0);
}

static void test_timers_go_when_the_program_needs_what_they_take(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, given_back);
}

/* The child of a fork in the middle of a profile has none, and may take one. */
static void forked(void)
{
	workers[0] = (struct worker){.red_ms = 100};
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	pid_t child = fork();
	if (child == 0) {
		cpu_fork_child();
		cpu_profile_fork_child();
		sample_fork_child();
		house_fork_child();
		threads_fork_child();
		struct region own = {0};
		CHECK(snapshot_cpu_end(&region, &s) != 0);
		CHECK(snapshot_cpu_begin(&own, 0) == 0);
		start(1);
		drain_until_done(1);
		CHECK(snapshot_cpu_end(&own, &s) == 0);
		join(1);
		CHECK(ns_of(&s, workers[0].tid, RED) > 0);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
}

static void test_the_child_of_a_fork_has_no_profile_and_may_take_one(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, forked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_second_of_work_is_a_second_of_the_profile),
		cmocka_unit_test(test_work_in_step_with_the_period_shows_all_its_parts),
		cmocka_unit_test(test_the_stacks_of_one_thread_are_told_apart),
		cmocka_unit_test(test_threads_that_were_there_before_have_their_own_names_and_numbers),
		cmocka_unit_test(test_threads_of_a_few_milliseconds_are_counted_right_together),
		cmocka_unit_test(test_a_rate_above_the_kernels_tick_is_cut_down_and_said),
		cmocka_unit_test(test_without_timers_the_interval_timer_serves_and_that_is_said),
		cmocka_unit_test(test_a_program_that_uses_sigprof_keeps_it),
		cmocka_unit_test(test_a_thread_that_blocks_our_signal_is_named),
		cmocka_unit_test(test_profiles_share_a_run_and_the_last_one_ends_it),
		cmocka_unit_test(test_each_profile_has_its_own_window),
		cmocka_unit_test(test_an_abandoned_profile_leaves_nothing_behind),
		cmocka_unit_test(test_timers_go_when_the_program_needs_what_they_take),
		cmocka_unit_test(test_the_child_of_a_fork_has_no_profile_and_may_take_one),
	};
	return cmocka_run_group_tests(tests, measure_steps, NULL);
}
