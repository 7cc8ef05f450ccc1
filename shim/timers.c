/* timers.c - what the kernel does for threads of the program's group alone.
 *
 * Runs in: app's thread, signal handler, listener (timers_inside and what says so).
 * So: system calls and nothing else. The kernel looks timers and CPU clocks up in the caller's thread group, so all that needs to
 * be there goes through this file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "shim/timers.h"

long timers_inside(long (*fn)(void *arg), void *arg)
{
	return fn(arg);
}

int timers_make(struct timers_request *q)
{
	struct sigevent e;
	memset(&e, 0, sizeof e);
	e.sigev_value.sival_ptr = q->mark;
	e.sigev_signo = q->signal;
	e.sigev_notify = SIGEV_THREAD_ID;
	e._sigev_un._tid = q->tid;
	int r = (int)os_call(SYS_timer_create, q->clock, &e, &q->timer);
	if (r == 0 && (r = (int)os_call(SYS_timer_settime, q->timer, 0, q->value, NULL)) < 0)
		os_call(SYS_timer_delete, q->timer); /* the thread has ended */
	return r;
}

static long delete_one(void *timer)
{
	return os_call(SYS_timer_delete, *(int *)timer);
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
