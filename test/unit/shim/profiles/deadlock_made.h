/* deadlock_made.h - locks that threads wait for as the hooks make them, for the tests of deadlock.c.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_DEADLOCK_MADE_H
#define PPROFSHIM_TEST_DEADLOCK_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/profiles/cpu.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/profiles/deadlock.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#define NOINLINE __attribute__((noinline, noclone, unused))

const char *__tsan_default_options(void);
const char *__tsan_default_options(void) /* deadlocks are what is wanted here */
{
	return "detect_deadlocks=0 report_mutex_bugs=0 report_thread_leaks=0";
}

shared_u32 signals_users; /* signals.c's */
static inline void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	threads_start();
	clock_start();
}

/* What the hooks do, and the beginning of a thread. */
#define WAIT_IN(call, object) \
	struct wait_scope scope; \
	if (!threads_self()) \
		self.thread = threads_enter(os_tid()); \
	waits_enter(&scope, WAIT_##call, (uintptr_t)(object), UNWIND_CALLER(), clock_ns(CLOCK_MONOTONIC_COARSE))

static NOINLINE int lock(pthread_mutex_t *m)
{
	WAIT_IN(pthread_mutex_lock, m);
	int r = pthread_mutex_lock(m);
	waits_leave(&scope);
	return r;
}

static NOINLINE int lock_for_a_minute(pthread_mutex_t *m)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	WAIT_IN(pthread_mutex_timedlock, m);
	int r = pthread_mutex_timedlock(m, &until);
	waits_leave(&scope);
	return r;
}

static NOINLINE int lock_for_writing(pthread_rwlock_t *l)
{
	WAIT_IN(pthread_rwlock_wrlock, l);
	int r = pthread_rwlock_wrlock(l);
	waits_leave(&scope);
	return r;
}

#endif
