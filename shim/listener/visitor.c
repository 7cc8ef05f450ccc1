/* visitor.c - a thread of the program's group that exists while the listener needs one.
 *
 * Runs in: listener; app's thread inside a hook, or in our handler; the visitor itself, with all signals blocked.
 * So: only raw system calls; the program's threads wait only for its end, which takes microseconds.
 *
 * Shared: `phase`, by exchanges. In IDLE and DONE it is the listener's turn, in REQUEST the visitor's. The thread that
 * changes it from IDLE or DONE to ENDING ends the visitor. fn, arg and result belong to the side whose turn it is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/visitor.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "shim/base/arena.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/listener/listener.h"
#include "shim/listener/offspring.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/listener/scheduling.h"
#include "shim/waits/calls.h"
#include "shim/waits/restart.h"
#include "shim/waits/signals.h"
#include "shim/base/sync.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum {
	IDLE_NS = 200 * 1000 * 1000,
	REST_MS = 100,
	LEFT_ALONE_S = 5,   /* the listener has ended */
	PATIENCE_MS = 1000, /* to find a thread that makes a visitor */
	HOOKS_MS = 10,      /* of these, before we send a signal to a thread */
	STEP_MS = 2,
	LOOKED_AT = 32, /* threads, to find the best one to wake */
	BEST = 2,
	MOMENT_NS = 2 * 1000 * 1000,
	STOP_STEPS = 4000,
	STOP_STEP_NS = 50 * 1000,
	KNOCK_CODE = -61, /* si_code of the signal that asks a thread to make a visitor: none of the kernel's */
};

enum { NONE, IDLE, REQUEST, DONE, ENDING };

static struct {
	shared_int tid;   /* cleared by the kernel when it has left our memory */
	shared_u32 phase; /* a futex */
	shared_u32 wanted;
	shared_int no_room; /* the kernel had no thread more for us */
	long (*fn)(void *arg);
	void *arg;
	long result;
	int status;        /* of its end; see below */
	struct call *call; /* the listener's: under way, or done and not looked at; NULL: none */
	unsigned seekers;  /* the listener's: calls that wait for a visitor */
	uint64_t last_ns;  /* the listener's: when it was called */
} visitor FORKED;

/* Of the listener. A task that waits for it lets others run, who may have calls of their own. */
struct call {
	bool is_done;
	long result;
};

static struct offspring_room room FORKED;
static char mark; /* its address is that signal's value */

static bool turn(uint32_t from, uint32_t to)
{
	if (!shared_cas_acq_rel(&visitor.phase, &from, to))
		return false;
	os_futex_wake(shared_word(&visitor.phase), 2);
	return true;
}

static uint32_t phase(void)
{
	return shared_load_acquire(&visitor.phase);
}

static int tid(void)
{
	return shared_load_acquire(&visitor.tid);
}

/* ---- the visitor ---- */

static void visit(void *unused)
{
	(void)unused;
	struct timespec most = {.tv_sec = LEFT_ALONE_S};
	lock_know_tid(os_tid());
	self.busy = true; /* no handler ever interrupts it */
	os_call(SYS_prctl, PR_SET_NAME, "pprofshim");
	scheduling_be_ordinary();
	for (;;) {
		uint32_t now = phase();
		if (now == ENDING)
			os_call(SYS_exit, visitor.status);
		if (now == REQUEST) {
			visitor.result = visitor.fn(visitor.arg);
			turn(REQUEST, DONE);
		} else if (os_futex_wait(shared_word(&visitor.phase), now, &most) == -ETIMEDOUT) {
			turn(now, ENDING);
		}
	}
}

/* ---- its birth and its end, by the program's threads ---- */

static void start(void)
{
	uint64_t all = ~(uint64_t)0, before;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	tasks_hide(TASKS_VISITOR, &visitor.tid);
	visitor.status = 0;
	shared_store_release(&visitor.phase, IDLE);
	bool lent = scheduling_lend();
	long r = offspring_visitor(&room, visit, &visitor.tid);
	scheduling_take_back(lent);
	shared_store_relaxed(&visitor.no_room, r == -EAGAIN);
	if (r < 0)
		shared_store_release(&visitor.phase, NONE);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

void visitor_start_wanted(void)
{
	uint32_t wanted = 1;
	if (!shared_load_relaxed(&visitor.wanted) || !house_is_ours() || tid() ||
	    listener_identity_is_changing() || /* it would keep the old one */
	    !shared_cas_acq_rel(&visitor.wanted, &wanted, 0))
		return;
	start();
}

bool visitor_is_there(void)
{
	return tid() != 0;
}

bool visitor_stop(void)
{
	shared_store_relaxed(&visitor.wanted, 0);
	return tid() && house_is_ours() && visitor_end();
}

/* Its work takes no time once it has a processor. */
bool visitor_end(void)
{
	int was = tid();
	struct timespec step = {.tv_nsec = STOP_STEP_NS};
	if (!was)
		return false;
	for (int i = 0; i < STOP_STEPS; i++) {
		if (os_call(SYS_tgkill, house_pid(), was, 0) == -ESRCH)
			return true;
		if (!turn(IDLE, ENDING))
			turn(DONE, ENDING); /* the listener may be stopped before it has looked at the result */
		os_call(SYS_nanosleep, &step, NULL);
	}
	return false;
}

/* ---- requests, by the listener ---- */

/* The outcome goes to whose call it was, whoever sees it first. */
static void settle(void)
{
	struct call *c = visitor.call;
	if (phase() == REQUEST)
		return;
	if (c)
		*c = (struct call){.is_done = true, .result = visitor.result};
	visitor.call = NULL;
	turn(DONE, IDLE);
}

static bool is_ready(void)
{
	settle();
	return phase() == IDLE && tid() > 0;
}

static long knock_at(int thread)
{
	siginfo_t info;
	memset(&info, 0, sizeof info);
	info.si_signo = SIGNALS_OURS;
	info.si_code = KNOCK_CODE;
	info.si_pid = os_pid();
	info.si_value.sival_ptr = &mark;
	return os_call(SYS_rt_tgsigqueueinfo, house_pid(), thread, SIGNALS_OURS, &info);
}

/* Notes the call in which it is blocked, so that it resumes that with the time that is left. */
static bool may_be_knocked_at(int thread)
{
	struct thread *t = threads_facts(thread).thread;
	return tasks_catches(thread, SIGNALS_OURS) && (!t || restart_look(t));
}

/* At the limit of pending signals we can only send one to the whole process, without a mark that it is ours. The kernel
 * gives it to the main thread, if that accepts it. */
static void knock_without_a_word(void)
{
	if (may_be_knocked_at(house_pid()))
		os_call(SYS_kill, house_pid(), SIGNALS_OURS);
}

/* How good is this thread to wake? Good: blocked in a call that our handler sets back. Best: that call has no time-out,
 * as we may not know how much of a time-out is left. A running thread may begin any call before the signal comes. */
static int goodness(int thread)
{
	struct task k = tasks_look(thread);
	int way = k.state == TASK_BLOCKED && k.nr >= 0 ? calls_again(k.nr, (long)k.args[1]) : CALLS_NEVER;
	return way == CALLS_AS_IT_IS ? BEST : way == CALLS_NEVER ? 0 : 1;
}

/* Sends the signal to one thread that handles it. The signal would end a program that has removed our handler. */
static long knock_at_one(const int *tids, size_t count, unsigned attempt, int good)
{
	long r = -ESRCH;
	for (size_t i = 0; tids && i < count && (!good || i < LOOKED_AT) && r == -ESRCH; i++) {
		int thread = tids[(i + attempt) % count];
		if ((!good || goodness(thread) >= good) && may_be_knocked_at(thread))
			r = knock_at(thread);
	}
	return r;
}

static void knock(unsigned attempt)
{
	size_t count;
	struct region scratch = {0};
	const int *tids = tasks_list(&scratch, &count);
	long r = -ESRCH;
	for (int good = BEST; good >= 0 && r == -ESRCH; good--)
		r = knock_at_one(tids, count, attempt, good);
	region_release(&scratch);
	if (r == -EAGAIN)
		knock_without_a_word();
}

/* At the limit of pending signals the kernel does not tell the sender. */
bool visitor_is_knock(const siginfo_t *info)
{
	return (info->si_code == KNOCK_CODE && info->si_value.sival_ptr == &mark) ||
	       (info->si_code == SI_USER && (info->si_pid == 0 || shared_load_relaxed(&visitor.wanted) != 0));
}

static bool find_one(void)
{
	static unsigned attempt;
	visitor.seekers++;
	shared_store_relaxed(&visitor.no_room, 0);
	shared_store_release(&visitor.wanted, 1);
	waits_watch(WAITS_FOR_LISTENER, true);
	for (int ms = 0; ms < PATIENCE_MS && !is_ready() && !shared_load_relaxed(&visitor.no_room); ms += STEP_MS) {
		if (ms % (5 * HOOKS_MS) == HOOKS_MS && !tid())
			knock(attempt++);
		pace_sleep(STEP_MS);
		if (phase() != IDLE && !tid()) /* no visitor could be made, or the last one has just ended */
			shared_store_release(&visitor.wanted, 1);
	}
	if (!--visitor.seekers) {
		shared_store_release(&visitor.wanted, 0);
		waits_watch(WAITS_FOR_LISTENER, shared_glance(&listener_pending));
	}
	return is_ready();
}

/* All other threads of the program have ended: the visitor is the last one, and keeps the process alive. Newer kernels
 * use the status of the last thread as that of the process. So the visitor ends with the first thread's status, which
 * is most likely the intended one. */
static bool is_alone(void)
{
	if (tasks_count() != 1 || tasks_look(house_pid()).state != TASK_GONE)
		return false;
	visitor.status = tasks_exit_status(house_pid());
	return true;
}

unsigned visitor_rest(void)
{
	if (!tid())
		return 0;
	if (phase() == IDLE && (is_alone() || os_clock_ns(CLOCK_MONOTONIC) - visitor.last_ns > IDLE_NS))
		turn(IDLE, ENDING);
	return REST_MS;
}

/* The visitor has no lock and mostly a processor: a moment is worth more than a turn of the loop. */
static void await_answer(void)
{
	struct timespec moment = {.tv_nsec = MOMENT_NS};
	os_futex_wait(shared_word(&visitor.phase), REQUEST, &moment);
	if (phase() == REQUEST)
		pace_sleep(1);
}

static long ask(long (*fn)(void *arg), void *arg)
{
	struct call mine = {0};
	visitor.fn = fn;
	visitor.arg = arg;
	if (!turn(IDLE, REQUEST))
		return -ETIME;
	visitor.call = &mine;
	for (settle(); !mine.is_done; settle()) {
		if (!tid() && phase() == REQUEST) { /* it was killed */
			visitor.call = NULL;
			return -ETIME;
		}
		await_answer();
	}
	return mine.result;
}

long visitor_call(long (*fn)(void *arg), void *arg)
{
	if (!listener_is_me() || listener_is_inside())
		return fn(arg);
	if (is_alone()) {
		turn(IDLE, ENDING);
		return -ETIME;
	}
	for (int i = 0; i < 2; i++) { /* it may end just now */
		long r = is_ready() || find_one() ? ask(fn, arg) : -ETIME;
		visitor.last_ns = os_clock_ns(CLOCK_MONOTONIC);
		if (r != -ETIME)
			return r;
	}
	return shared_load_relaxed(&visitor.no_room) ? -ENOSPC : -ETIME;
}

/* A request that is being done turns to DONE a moment later, and such a visitor ends by itself. */
void visitor_begin_anew(void)
{
	if (shared_load_relaxed(&visitor.wanted)) {
		shared_store_relaxed(&visitor.wanted, 0);
		waits_watch(WAITS_FOR_LISTENER, shared_load_relaxed(&listener_pending));
	}
	visitor.call = NULL;
	visitor.seekers = 0;
	turn(DONE, IDLE);
}

FORKED_CODE void visitor_fork_child(void)
{
	if (!room.memory && !shared_own(&visitor.wanted))
		return;
	memset(&visitor, 0, sizeof visitor);
	room.memory = NULL;
}
