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

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/layout.h"
#include "shim/threads/timers.h"

static SHARED(long (*)(long (*fn)(void *arg), void *arg)) way_in; /* NULL: all callers are inside */

void timers_enter_by(long (*way)(long (*fn)(void *arg), void *arg))
{
	shared_store_release(&way_in, way);
}

long timers_inside(long (*fn)(void *arg), void *arg)
{
	long (*way)(long (*)(void *), void *) = shared_load_acquire(&way_in);
	return way ? way(fn, arg) : fn(arg);
}

shared_u32 timers_count FORKED;
static struct {
	shared_u32 makers;
	shared_u32 paused;
	shared_u64 since_ns; /* of the last pause */
} timers FORKED;

bool timers_begin_making(void)
{
	shared_add_seq_cst(&timers.makers, 1);
	if (!timers_are_paused())
		return true;
	timers_end_making();
	return false;
}

void timers_end_making(void)
{
	shared_sub_seq_cst(&timers.makers, 1);
}

void timers_pause(void)
{
	shared_store_relaxed(&timers.since_ns, clock_ns(CLOCK_MONOTONIC_COARSE));
	shared_add_seq_cst(&timers.paused, 1);
}

bool timers_resume(void)
{
	uint32_t n = shared_load_relaxed(&timers.paused);
	while (n && !shared_cas_seq_cst(&timers.paused, &n, n - 1))
		continue;
	return n <= 1;
}

bool timers_are_paused(void)
{
	return shared_load_seq_cst(&timers.paused) != 0;
}

bool timers_wait_for_makers(void)
{
	enum { STEP_NS = 100000, MOST_NS = 20000000 };
	if (!shared_load_seq_cst(&timers.makers))
		return false;
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + MOST_NS;
	while (shared_load_seq_cst(&timers.makers) && os_step(until, STEP_NS))
		continue;
	return true;
}

void timers_end_lost_pause(void)
{
	enum { LOST_S = 10 };
	uint64_t since = shared_load_relaxed(&timers.since_ns);
	if (timers_are_paused() && clock_ns(CLOCK_MONOTONIC_COARSE) > since + LOST_S * 1000000000ull)
		shared_store_seq_cst(&timers.paused, 0);
}

void timers_note_entry(int change)
{
	shared_add_seq_cst(&timers_count, (uint32_t)change);
}

FORKED_CODE void timers_fork_child(void)
{
	shared_set_own(&timers_count, 0);
	shared_set_own(&timers.makers, 0);
	shared_set_own(&timers.paused, 0);
}

int timers_make(struct timers_request *q)
{
	struct sigevent e;
	memset(&e, 0, sizeof e);
	e.sigev_value.sival_ptr = q->mark;
	e.sigev_signo = q->signal;
	e.sigev_notify = SIGEV_THREAD_ID;
	e._sigev_un._tid = q->tid;
	shared_add_seq_cst(&timers_count, 1);
	int r = (int)os_call(SYS_timer_create, q->clock, &e, &q->timer);
	if (r < 0)
		shared_sub_seq_cst(&timers_count, 1);
	else if ((r = (int)os_call(SYS_timer_settime, q->timer, 0, q->value, NULL)) < 0)
		timers_delete(q->timer); /* the thread has ended */
	return r;
}

static long delete_one(void *timer)
{
	long r = os_call(SYS_timer_delete, *(int *)timer);
	shared_sub_seq_cst(&timers_count, 1);
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
