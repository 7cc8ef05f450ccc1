/* delays_made.h - waits of known lengths, and what delays.c calls in other rooms.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_DELAYS_MADE_H
#define PPROFSHIM_TEST_DELAYS_MADE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/profiles/delays.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/self.h"
#include "shim/base/random.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/waits.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static uint64_t now_ns;      /* atomic */
uint64_t clock_ns(int clock) /* clock.c's */
{
	return clock == CLOCK_MONOTONIC ? __atomic_load_n(&now_ns, __ATOMIC_RELAXED) : 0;
}

shared_bool listener_pending; /* listener.c's */
static int listener_starts;
void listener_start_pending(void)
{
	shared_set_own(&listener_pending, false);
	listener_starts++;
}

static uintptr_t last_via;
struct stack *stack_here_via(uintptr_t function, uintptr_t via, struct unwind_frame from) /* here.c's */
{
	const uintptr_t pc[] = {function, from.pc};
	assert_true(self.busy);
	last_via = via;
	return stacks_intern(pc, COUNT(pc));
}

/* unwind.c's, these two: frames of a function that begins at ...00, called by one that begins at ...00 + 0x100. */
size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                   enum stack_cut *cut)
{
	(void)known;
	*cut = CUT_NOT;
	for (size_t i = 0; i < max; i++)
		pc[i] = start.pc + i * 0x100;
	return max;
}

uintptr_t unwind_function_start(uintptr_t pc)
{
	assert_true(self.busy);
	return pc & ~(uintptr_t)0xff;
}

shared_u32 waits_watchers;
void waits_watch(uint32_t watcher, bool on) /* waits.c's, these two */
{
	shared_set_own(&waits_watchers,
	               on ? shared_own(&waits_watchers) | watcher : shared_own(&waits_watchers) & ~watcher);
}

uintptr_t waits_function(unsigned call)
{
	return 0x1000 + call;
}

static struct {
	int wakes;
	uintptr_t object, function;
	struct unwind_frame from;
} traced;

void trace_wakes(uintptr_t object, uintptr_t function, struct unwind_frame from)
{
	traced = (__typeof__(traced)){traced.wakes + 1, object, function, from}; /* trace_events.c's */
}

static uintptr_t released;
uint64_t queues_release(uintptr_t lock) /* queues.c's */
{
	released = lock;
	return 4711;
}

/* --- helpers ----------------------------------------------------------------------------------- */

static inline struct unwind_frame at(uintptr_t site)
{
	return (struct unwind_frame){.pc = 0x400000 + site};
}

static inline void wait_at(uintptr_t site, uint64_t ns)
{
	now_ns = 1000000 + ns;
	delays_waited(WAIT_pthread_mutex_lock, 1000000, now_ns, at(site), false);
}

enum { FUNCTION = 0x7000 };
static inline void cause_at(uintptr_t site, uint64_t ns)
{
	delays_caused(0, FUNCTION, ns, at(site));
}

/* The row of a site; its counters are 0 when there is none. */
static inline struct contention_row row_of(enum contention_kind kind, uintptr_t site)
{
	struct region r = {0};
	struct contention_snapshot s;
	struct contention_row found = {0};
	int rows = 0;
	assert_int_equal(snapshot_contention(&r, kind, &s), 0);
	for (size_t i = 0; i < s.count; i++)
		if (s.rows[i].stack->pc[1] == 0x400000 + site) {
			uintptr_t leaf = s.rows[i].stack->pc[0];
			if (leaf == (kind == CONTENTION_BLOCK ? 0x1000 + WAIT_pthread_mutex_lock : FUNCTION))
				found = s.rows[i], rows++;
			else
				assert_true(s.rows[i].contentions == 0 &&
				            s.rows[i].delay_ns == 0); /* the other side's */
		}
	assert_true(rows <= 1);
	region_release(&r);
	return found;
}

static inline void expect(enum contention_kind kind, uintptr_t site, uint64_t contentions, uint64_t delay_ns)
{
	struct contention_row row = row_of(kind, site);
	assert_int_equal(row.contentions, contentions);
	assert_int_equal(row.delay_ns, delay_ns);
}

/* Off by at most four standard errors, the error being the root of `variance`? */
static inline void expect_near(const char *what, double got, double want, double variance)
{
	double off = got - want;
	if (off * off > 16 * variance)
		fail_msg("%s: %g, not %g; four standard errors are the root of %g", what, got, want, 16 * variance);
}

static inline int reset(void **state)
{
	(void)state;
	random_start(1);
	delays_start(1, 1);
	self = (struct self){.random = 20240229};
	memset(&losses, 0, sizeof losses);
	memset(&traced, 0, sizeof traced);
	shared_and_seq_cst(&waits_watchers, ~(uint32_t)WAITS_FOR_TRACE);
	return 0;
}

#endif
