/* timers.c - what the kernel does for threads of the program's group alone.
 *
 * Runs in: app's thread, signal handler, listener (timers_inside and what says so).
 * So: system calls, and nothing else but counts of them. The kernel looks timers and CPU clocks up in the caller's
 * thread group, so everything that must run there goes through this file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "shim/libc/clock.h"
#include "shim/base/layout.h"
#include "shim/threads/timers.h"

static long (*way_in)(long (*fn)(void *arg), void *arg); /* atomic; NULL: all callers are inside */

void timers_enter_by(long (*way)(long (*fn)(void *arg), void *arg))
{
	__atomic_store_n(&way_in, way, __ATOMIC_RELEASE);
}

long timers_inside(long (*fn)(void *arg), void *arg)
{
	long (*way)(long (*)(void *), void *) = __atomic_load_n(&way_in, __ATOMIC_ACQUIRE);
	return way ? way(fn, arg) : fn(arg);
}

uint32_t timers_count FORKED;
static struct {
	uint32_t makers;   /* atomic */
	uint32_t paused;   /* atomic */
	uint64_t since_ns; /* atomic: of the last pause */
} timers FORKED;

bool timers_begin_making(void)
{
	__atomic_fetch_add(&timers.makers, 1, __ATOMIC_SEQ_CST);
	if (!timers_are_paused())
		return true;
	timers_end_making();
	return false;
}

void timers_end_making(void)
{
	__atomic_fetch_sub(&timers.makers, 1, __ATOMIC_SEQ_CST);
}

void timers_pause(void)
{
	__atomic_store_n(&timers.since_ns, clock_ns(CLOCK_MONOTONIC_COARSE), __ATOMIC_RELAXED);
	__atomic_fetch_add(&timers.paused, 1, __ATOMIC_SEQ_CST);
}

bool timers_resume(void)
{
	uint32_t n = __atomic_load_n(&timers.paused, __ATOMIC_RELAXED);
	while (n && !__atomic_compare_exchange_n(&timers.paused, &n, n - 1, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		continue;
	return n <= 1;
}

bool timers_are_paused(void)
{
	return __atomic_load_n(&timers.paused, __ATOMIC_SEQ_CST) != 0;
}

bool timers_wait_for_makers(void)
{
	enum { STEP_NS = 100000, STEPS = 200 };
	bool waited = false;
	for (int i = 0; i < STEPS && __atomic_load_n(&timers.makers, __ATOMIC_SEQ_CST); i++) {
		const struct timespec step = {.tv_nsec = STEP_NS};
		os_call(SYS_nanosleep, &step, NULL);
		waited = true;
	}
	return waited;
}

void timers_end_lost_pause(void)
{
	enum { LOST_S = 10 };
	uint64_t since = __atomic_load_n(&timers.since_ns, __ATOMIC_RELAXED);
	if (timers_are_paused() && clock_ns(CLOCK_MONOTONIC_COARSE) > since + LOST_S * 1000000000ull)
		__atomic_store_n(&timers.paused, 0, __ATOMIC_SEQ_CST);
}

void timers_note_entry(int change)
{
	__atomic_fetch_add(&timers_count, (uint32_t)change, __ATOMIC_SEQ_CST);
}

FORKED_CODE void timers_fork_child(void)
{
	timers_count = 0;
	timers.makers = 0;
	timers.paused = 0;
}

int timers_make(struct timers_request *q)
{
	struct sigevent e;
	memset(&e, 0, sizeof e);
	e.sigev_value.sival_ptr = q->mark;
	e.sigev_signo = q->signal;
	e.sigev_notify = SIGEV_THREAD_ID;
	e._sigev_un._tid = q->tid;
	__atomic_fetch_add(&timers_count, 1, __ATOMIC_SEQ_CST);
	int r = (int)os_call(SYS_timer_create, q->clock, &e, &q->timer);
	if (r < 0)
		__atomic_fetch_sub(&timers_count, 1, __ATOMIC_SEQ_CST);
	else if ((r = (int)os_call(SYS_timer_settime, q->timer, 0, q->value, NULL)) < 0)
		timers_delete(q->timer); /* the thread has ended */
	return r;
}

static long delete_one(void *timer)
{
	long r = os_call(SYS_timer_delete, *(int *)timer);
	__atomic_fetch_sub(&timers_count, 1, __ATOMIC_SEQ_CST);
	return r;
}

void timers_delete(int timer)
{
	timers_inside(delete_one, &timer);
}

/* linux/posix-timers.h: CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED. */
int timers_cpu_clock(int tid)
{
	return (int)((unsigned)~tid << 3 | 4 | 2);
}

uint64_t timers_cpu_ns(int tid)
{
	return os_clock_ns(timers_cpu_clock(tid));
}

uint64_t timers_interval_us(void)
{
	struct itimerval t = {0};
	os_call(SYS_getitimer, ITIMER_PROF, &t);
	const struct timeval *set = t.it_interval.tv_sec || t.it_interval.tv_usec ? &t.it_interval : &t.it_value;
	return (uint64_t)set->tv_sec * 1000000 + (uint64_t)set->tv_usec;
}

void timers_set_interval(uint64_t us)
{
	const struct timeval each = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
	const struct itimerval t = {.it_interval = each, .it_value = each};
	os_call(SYS_setitimer, ITIMER_PROF, &t, NULL);
}

bool timers_has_ended(int pid, int tid)
{
	return os_call(SYS_tgkill, pid, tid, 0) == -ESRCH;
}

int timers_set_action(int sig, const struct timers_action *now, struct timers_action *before)
{
	return (int)os_call(SYS_rt_sigaction, sig, now, before, sizeof now->mask);
}
