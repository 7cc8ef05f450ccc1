/* thread.c - pthread_create, and C11's thrd_create.
 *
 * Runs in: app's thread inside the call; the new thread, once, before its start routine.
 * So: errno as the real function left it; we jump to the start routine, so no frame of ours is below the thread's own
 * (except for threads born in a trace).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>

#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/libc/real.h"
#include "shim/libc/thread_stack.h"
#include "shim/listener/listener.h"
#include "shim/profiles/sampling.h"
#include "shim/waits/signals.h"
#include "shim/stack/here.h"
#include "shim/threads/threads.h"
#include "shim/profiles/ticks.h"
#include "shim/profiles/trace_events.h"

/* In a trace a thread that returns also reports its end; the listener notices the end of others. */
static __attribute__((noinline)) void *run_traced(void *(*routine)(void *), void *arg)
{
	void *result = routine(arg);
	if (trace_is_on()) {
		trace_wakes((uintptr_t)pthread_self(), (uintptr_t)routine, UNWIND_CALLER());
		trace_ended();
	}
	return result;
}

static void *thread_main(void *arg)
{
	struct thread_start *t = arg;
	void *(*routine)(void *) = t->routine;
	void *routine_arg = t->arg;
	t->handle = (uintptr_t)pthread_self();
	self.stack = unwind_thread_stack((uintptr_t)__builtin_frame_address(0), t->stack_bytes);
	bool held = self_hold();
	struct thread_start start = *t;
	struct thread *mine = threads_begin(t);
	signals_keep_from_libc(); /* its creator may be late */
	ticks_thread_begins(mine);
	if (trace_is_on() && mine)
		trace_born(mine, &start);
	if (held)
		self_release();
	return trace_is_on() ? run_traced(routine, routine_arg) : routine(routine_arg);
}

/* Prepares what the new thread needs; NULL: it starts without us. */
static struct thread_start *prepare(void *(*routine)(void *), void *arg, struct unwind_frame caller)
{
	if (!house_is_on() || confined() || !self_hold())
		return NULL;
	struct thread_start *t = threads_prepare(stack_here(0, caller), routine, arg);
	if (t && trace_is_on()) {
		t->creator_tid = threads_self() ? shared_own(&threads_self()->tid) : os_tid();
		t->created_ns = clock_ns(CLOCK_MONOTONIC);
	}
	self_release();
	return t;
}

/* The thread was made without us. */
static int finish_bare(int result)
{
	signals_keep_from_libc();
	return result;
}

static void finish(struct thread_start *t, struct thread_site *site, bool created)
{
	if (created) {
		threads_count(site);
	} else if (self_hold()) {
		threads_cancel(t);
		self_release();
	}
	signals_keep_from_libc();
}

/* The kernel counts the listener among the processes of the user, and of the cgroup. If no more are allowed, the
 * listener ends to make room for the thread, and comes back when it can. */
#define MAKE_AGAIN(r, failed, call) \
	if ((r) == (failed) && listener_was_born && listener_gives_way_to_thread()) { \
		(r) = call; \
		listener_resume(); \
	}

EXPORT ALIGNED int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	struct thread_start *t = prepare(start, arg, UNWIND_CALLER());
	if (!t)
		return finish_bare(real_pthread_create(thread, attr, start, arg));
	struct thread_site *site = t->site; /* the thread gives t back */
	t->stack_bytes = thread_stack_bytes(attr);
	int r = real_pthread_create(thread, attr, thread_main, t);
	MAKE_AGAIN(r, EAGAIN, real_pthread_create(thread, attr, thread_main, t));
	finish(t, site, r == 0);
	return r;
}

/* A C11 thread returns an int, in the register in which others return a pointer. */
EXPORT ALIGNED int thrd_create(thrd_t *thread, thrd_start_t start, void *arg)
{
	struct thread_start *t = prepare((void *(*)(void *))(uintptr_t)start, arg, UNWIND_CALLER());
	if (!t)
		return finish_bare(real_thrd_create(thread, start, arg));
	struct thread_site *site = t->site;
	t->stack_bytes = thread_stack_bytes(NULL);
	int r = real_thrd_create(thread, (thrd_start_t)(uintptr_t)thread_main, t);
	MAKE_AGAIN(r, thrd_error, real_thrd_create(thread, (thrd_start_t)(uintptr_t)thread_main, t));
	finish(t, site, r == thrd_success);
	return r;
}
