/* ticks.c - the timers of a CPU profile: one per thread, on its CPU clock.
 *
 * Runs in: listener; new threads; app's thread inside a hook that needs what the timers use (quota.c), a signal handler
 * too. So: no lock is held during a system call, and functions for such a hook take none. Shared: `on` and `given_up`
 * are atomic. A record's `timer` changes from none to a number and back by exchanges, so each timer is deleted once. A
 * thread that makes a timer announces that (timers_begin_making), and afterwards checks whether it is still wanted.
 *
 * Timers expire at every tick of the kernel (their period is a microsecond): cpu.c says why.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/ticks.h"

#include "shim/base/shared.h"
#include "shim/profiles/cpu.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/libc/libc_thread.h"
#include "shim/base/os.h"
#include "shim/profiles/quota.h"
#include "shim/waits/restart.h"
#include "shim/base/pace.h"
#include "shim/waits/signals.h"
#include "shim/threads/tasks.h"
#include "shim/threads/timers.h"

static struct {
	shared_u32 on;
	shared_u32 given_up;
	shared_u64 untimed;
	shared_u64 pauses;
} ticks FORKED;

static bool are_wanted(void)
{
	return shared_load_seq_cst(&ticks.on) && !shared_load_seq_cst(&ticks.given_up);
}

static void drop(struct thread *t, void *unused)
{
	(void)unused;
	threads_drop_timer(threads_take_timer(t));
}

/* The record may become another thread's meanwhile. The thread that gives it away first changes `tid`, and then looks
 * for a timer: so at least one of the two sees the other. */
static int make_timer(struct thread *t, int tid)
{
	const struct timespec value[2] = {{.tv_nsec = CPU_EXPIRY_NS}, {.tv_nsec = CPU_EXPIRY_NS}};
	struct timers_request q = {.clock = timers_cpu_clock(tid),
	                           .tid = tid,
	                           .signal = SIGNALS_OURS,
	                           .mark = signals_timer_mark(),
	                           .value = value};
	t->armed_cpu_ns = timers_cpu_ns(tid);
	int r = quota_has_room() ? timers_make(&q) : -EAGAIN;
	shared_store_seq_cst(&t->timer, r < 0 ? THREAD_NO_TIMER : (uint32_t)q.timer + 1);
	if (r == 0 && (!are_wanted() || timers_are_paused() || shared_load_seq_cst(&t->tid) != tid))
		drop(t, NULL);
	return r;
}

/* Makes a timer for the thread, if it has none. Returns 0, or a negative errno. */
static int arm(struct thread *t)
{
	uint32_t none = THREAD_NO_TIMER;
	int tid = shared_load_relaxed(&t->tid), r = 0;
	if (!tid || t->restart.keep_off || !timers_begin_making())
		return 0;
	if (are_wanted() && shared_cas_acquire(&t->timer, &none, THREAD_TIMER_BEING_MADE))
		r = make_timer(t, tid);
	timers_end_making();
	return r;
}

void ticks_thread_begins(struct thread *t)
{
	if (__builtin_expect(shared_load_relaxed(&ticks.on) != 0, 0) && t && arm(t) < 0)
		shared_add_relaxed(&ticks.untimed, 1);
}

struct arming {
	int pid, error;
};

static void drop_of_ended(struct thread *t, void *pid)
{
	if (shared_load_relaxed(&t->timer) != THREAD_NO_TIMER &&
	    timers_has_ended(*(int *)pid, shared_load_relaxed(&t->tid)))
		drop(t, NULL);
}

static void arm_one(struct thread *t, void *arg)
{
	struct arming *a = arg;
	int e = arm(t);
	if ((e == -ENOMEM || e == -EAGAIN) && !a->error) /* else the thread has ended meanwhile */
		a->error = e;
}

static long arm_all(void *arg)
{
	struct arming *a = arg;
	threads_each(drop_of_ended, &a->pid);
	threads_each(arm_one, a);
	return a->error;
}

/* Threads whose beginning the library did not see get records. No lock is held during this, which takes a while if
 * there are thousands of threads: a task lets others run meanwhile. */
int ticks_arm_all(struct region *scratch)
{
	size_t count;
	struct arming a = {.pid = house_pid()};
	int *tids = tasks_list(scratch, &count);
	for (size_t i = 0; i < count; i++) {
		struct thread *t = libc_thread_may_be(tids[i]) ? threads_enter(tids[i]) : NULL;
		if (t && shared_load_relaxed(&t->timer) == THREAD_NO_TIMER)
			restart_look(t);
		pace();
	}
	return are_wanted() ? (int)timers_inside(arm_all, &a) : 0;
}

void ticks_arm_known(void)
{
	if (are_wanted())
		threads_each(arm_one, &(struct arming){0});
}

void ticks_drop_all(void)
{
	threads_each(drop, NULL);
}

static long drop_all(void *unused)
{
	(void)unused;
	ticks_drop_all();
	return 0;
}

void ticks_begin(void)
{
	if (timers_held()) /* the last profile could not delete its timers: no thread of the program let it in */
		timers_inside(drop_all, NULL);
	shared_set_own(&ticks.given_up, 0);
	shared_set_own(&ticks.untimed, 0);
	shared_set_own(&ticks.pauses, 0);
	shared_store_seq_cst(&ticks.on, 1);
}

void ticks_end(void)
{
	shared_store_seq_cst(&ticks.on, 0);
	timers_inside(drop_all, NULL);
}

bool ticks_are_on(void)
{
	return shared_load_relaxed(&ticks.on) != 0;
}

void ticks_give_up(void)
{
	shared_store_seq_cst(&ticks.given_up, 1);
}

bool ticks_given_up(void)
{
	return shared_load_relaxed(&ticks.given_up) != 0;
}

uint64_t ticks_untimed(void)
{
	return shared_load_relaxed(&ticks.untimed);
}

void ticks_note_pause(void)
{
	shared_add_relaxed(&ticks.pauses, 1);
}

uint64_t ticks_pauses(void)
{
	return shared_load_relaxed(&ticks.pauses);
}

FORKED_CODE void ticks_fork_child(void)
{
	shared_set_own(&ticks.on, 0);
}
