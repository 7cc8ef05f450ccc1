/* hooks_thread.c - pthread_create.
 *
 * Runs in: app's thread inside pthread_create; the new thread, once, before its start routine.
 * So: errno as the real function left it; the start routine is jumped to, so no frame of ours is below the
 * thread's own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "shim/exports.h"
#include "shim/heap.h"
#include "shim/init.h"
#include "shim/real.h"
#include "shim/sampler.h"
#include "shim/threads.h"

static void *thread_main(void *arg)
{
	struct thread_start *t = arg;
	void *(*routine)(void *) = t->routine;
	void *routine_arg = t->arg;
	sampler_hold(); /* a new thread holds nothing */
	threads_begin(t);
	sampler_release();
	return routine(routine_arg);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	if (!init_is_on() || !sampler_hold())
		return real_pthread_create(thread, attr, start, arg);
	struct thread_start *t = threads_prepare(heap_stack(UNWIND_CALLER()), start, arg);
	sampler_release();
	if (!t)
		return real_pthread_create(thread, attr, start, arg);
	struct thread_site *site = t->site;
	int r = real_pthread_create(thread, attr, thread_main, t);
	if (r == 0)
		threads_count(site);
	else
		threads_cancel(t);
	return r;
}
