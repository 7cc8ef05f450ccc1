/* cpu_made.h - threads that work for a known time at known places.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CPU_MADE_H
#define PPROFSHIM_CPU_MADE_H

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
 * gives the processor to another, again and again before the tick that would have sampled it. The time that they took
 * is read afterwards. */
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

static const char *comment_with(const struct cpu_snapshot *s, const char *text)
{
	for (size_t i = 0; i < s->comment_count; i++)
		if (strstr(s->comments[i], text))
			return s->comments[i];
	return NULL;
}

#endif
