/* trace_events_made.h - threads that write events to a trace, and the trace as it is read.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_EVENTS_MADE_H
#define PPROFSHIM_TRACE_EVENTS_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/settings.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static uint64_t now_ns = 1000000; /* atomic */
static bool ticks;
uint64_t clock_ns(int clock) /* clock.c's */
{
	CHECK(clock == CLOCK_MONOTONIC);
	return ticks ? __atomic_add_fetch(&now_ns, 1, __ATOMIC_RELAXED) : now_ns;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from) /* here.c's */
{
	const uintptr_t pc[] = {function, from.pc};
	CHECK(self.busy);
	return stacks_intern(pc, COUNT(pc));
}

shared_u32 waits_watchers;
void waits_watch(uint32_t watcher, bool on) /* waits.c's, these two */
{
	if (on)
		shared_or_seq_cst(&waits_watchers, watcher);
	else
		shared_and_seq_cst(&waits_watchers, ~watcher);
}

uintptr_t waits_function(unsigned call)
{
	return 0x1000 + call;
}

static struct thread records[12]; /* the first is the main thread's */
static uint32_t made;             /* atomic: records that were asked for */

struct thread *threads_enter_busy(void) /* threads.c's, these four */
{
	__atomic_fetch_add(&made, 1, __ATOMIC_RELAXED);
	return self.thread = &records[0];
}

struct thread *threads_enter_self(void)
{
	if (!self_hold())
		return NULL;
	struct thread *t = threads_enter_busy();
	self_release();
	return t;
}

void threads_each(void (*each)(struct thread *t, void *arg), void *arg)
{
	for (size_t i = 0; i < COUNT(records); i++)
		each(&records[i], arg);
}

struct thread_site {
	const struct stack *stack;
};
const struct stack *threads_site_stack(const struct thread_site *site)
{
	return site ? site->stack : NULL;
}

/* --- helpers ----------------------------------------------------------------------------------- */

static struct unwind_frame at(uintptr_t site)
{
	return (struct unwind_frame){.pc = 0x400000 + site};
}

/* This one of the threads does what comes next. */
static void be(int thread)
{
	self.thread = &records[thread];
}

static int reset(void **state)
{
	(void)state;
	trace_free();
	memset(records, 0, sizeof records);
	for (size_t i = 0; i < COUNT(records); i++)
		shared_set_own(&records[i].tid, 100 + (int)i);
	settings.memory_limit = 160 << 20;
	shared_set_own(&waits_watchers, 0);
	self.busy = false;
	now_ns = 1000000;
	ticks = false;
	made = 0;
	be(0);
	return 0;
}

static size_t count_events(void)
{
	size_t chunk_count, n = 0;
	const struct trace_chunk *c = trace_chunks(&chunk_count);
	for (size_t i = 0; i < chunk_count; i++) {
		assert_true(trace_chunk_count(&c[i]) <= COUNT(c->at));
		n += trace_chunk_count(&c[i]);
	}
	return n;
}

/* The n-th event of all. */
static const struct trace_event *event(size_t n)
{
	size_t chunk_count;
	const struct trace_chunk *c = trace_chunks(&chunk_count);
	for (size_t i = 0; i < chunk_count; i++) {
		if (n < trace_chunk_count(&c[i]))
			return &c[i].at[n];
		n -= trace_chunk_count(&c[i]);
	}
	fail_msg("there are no more events");
	return NULL;
}

static void heap_event(int64_t bytes) /* as in a hook */
{
	self.busy = true;
	trace_heap(bytes);
	self.busy = false;
}

static void wait_from_to(enum wait_view view, uintptr_t object, uint64_t since_ns, uint64_t end_ns)
{
	trace_waited(view, WAIT_pthread_mutex_lock, object, since_ns, end_ns, at(1));
}

#endif
