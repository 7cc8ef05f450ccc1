/* signals.c - the one signal of ours, and its handler.
 *
 * Runs in: signal handler (on_signal: any app lock and any lock of ours may be held by the thread it interrupted);
 * listener; app's thread in pthread_create (signals_keep_from_libc).
 * So: the handler takes no lock, allocates nothing, calls nothing of libc, and runs with every signal blocked: others
 * that are pending come after it, and waits.c relies on that. Its frames are small, as the stack may be small, too (at
 * most 1 KiB below the kernel's frame). Its first instructions align the stack, which not every kernel does (qemu-user
 * does not). In a thread that libc does not know it touches no thread-local storage (this file is compiled without a
 * stack guard). Shared: signals_users and at_work are atomic; `next` is written before our handler is in place.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/signals.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/pace.h"
#include "shim/base/shared.h"
#include "shim/libc/libc_thread.h"
#include "shim/base/losses.h"
#include "shim/libc/real.h"
#include "shim/waits/questions.h"
#include "shim/waits/restart.h"
#include "shim/base/sync.h"
#include "shim/threads/timers.h"
#include "shim/stack/unwind.h"
#include "shim/waits/waits.h"

shared_u32 signals_users FORKED;
static shared_u64 begun FORKED;             /* signals_begun */
static shared_u32 at_work FORKED;           /* handlers of ours under way */
static const struct signals_takers *takers; /* immutable after init */
static struct timers_action next;           /* libc's action, which ours replaced */
static char timer_mark;                     /* its address tells what a signal is for */

/* Called by the entries alone. */
HIDDEN void take_signal(int sig, siginfo_t *info, void *context);
HIDDEN void take_interval(int sig, siginfo_t *info, void *context);

ARCH_RESTORER(pprofshim_restorer)
ARCH_ALIGNED_ENTRY(pprofshim_take_signal, take_signal)
ARCH_ALIGNED_ENTRY(pprofshim_take_interval, take_interval)

static struct unwind_frame frame_of(const ucontext_t *u)
{
	return (struct unwind_frame){
		.pc = (uintptr_t)ARCH_PC(u),
		.sp = (uintptr_t)ARCH_SP(u),
		.fp = (uintptr_t)ARCH_FP(u),
		.registers = u,
	};
}

static void at_interrupted(ucontext_t *u, const struct unwind_frame *f)
{
	uint64_t mask;
	memcpy(&mask, &u->uc_sigmask, sizeof mask);
	if (confined())
		return;
	if (!waits_is_at(waits_self(), f->sp))
		restart_interrupted(u, mask);
	else
		restart_interrupted_in(u, mask, waits_self());
}

/* A signal that is not ours has the effect that it would have had without us. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	static const struct timers_action default_action; /* SIG_DFL: it ends the program */
	void (*handler)(int, siginfo_t *, void *) = word_load_relaxed(&next.handler);
	if ((uintptr_t)handler > (uintptr_t)SIG_IGN) {
		handler(sig, info, context);
	} else if ((uintptr_t)handler == (uintptr_t)SIG_DFL) {
		timers_set_action(sig, &default_action, NULL);
		os_call(SYS_tgkill, os_pid(), os_tid(), sig);
	}
}

/* Stops the timer; it is deleted by way of its record. */
static void silence(const siginfo_t *info)
{
	static const struct timespec never[2];
	if (!confined())
		os_call(SYS_timer_settime, info->si_timerid, 0, never, NULL);
}

/* The purpose of a signal. */
enum purpose { FOREIGN, TICK, QUESTION, KNOCK };

static enum purpose purpose_of(const siginfo_t *info)
{
	if (info->si_code == SI_TIMER && info->si_value.sival_ptr == &timer_mark)
		return TICK;
	if (info->si_code == SI_TIMER && is_question(info->si_value.sival_ptr))
		return QUESTION;
	return takers->is_knock(info) ? KNOCK : FOREIGN;
}

/* A thread that libc does not know gets no more signals from this timer. (The timer's owner deletes it.) */
static void leave_alone(enum purpose purpose, const siginfo_t *info)
{
	if (purpose == KNOCK)
		return;
	if (purpose == TICK)
		silence(info);
	else
		takers->refuse((uint32_t)(uintptr_t)info->si_value.sival_ptr);
	losses_count(unknown_thread);
}

static __attribute__((noinline)) void on_signal(enum purpose purpose, const siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	struct unwind_frame f = frame_of(u);
	if (purpose == KNOCK)
		takers->knock();
	else if (purpose == QUESTION)
		takers->answer((uint32_t)(uintptr_t)info->si_value.sival_ptr, f);
	else if (!takers->tick(f, info->si_overrun))
		silence(info);
	at_interrupted(u, &f);
}

/* Counted before the look at confined(): the thread that sets that waits for handlers that may not have seen it.
 * Returns false if the handler has to return at once: its signal was on its way when the filter came. */
static bool begin_work(void)
{
	shared_add_seq_cst(&at_work, 1);
	shared_fence_seq_cst();
	return !confined();
}

static void end_work(void)
{
	shared_sub_release(&at_work, 1);
}

/* The program's own handler is not counted: it may wait, jump away, or confine the program. */
__attribute__((used)) void take_signal(int sig, siginfo_t *info, void *context)
{
	enum purpose purpose = purpose_of(info);
	if (purpose == FOREIGN) {
		pass_on(sig, info, context);
		return;
	}
	if (!begin_work()) {
		/* nothing */
	} else if (libc_thread_is_here()) {
		lock_check_handler(true);
		on_signal(purpose, info, context);
		lock_check_handler(false);
	} else {
		leave_alone(purpose, info);
	}
	end_work();
}

static __attribute__((noinline)) void on_interval(void *context)
{
	ucontext_t *u = context;
	struct unwind_frame f = frame_of(u);
	takers->interval(f);
	at_interrupted(u, &f);
}

/* Only for the signal of the interval timer, which the kernel itself sends. */
__attribute__((used)) void take_interval(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	if (info->si_code != SI_KERNEL)
		return;
	if (!begin_work()) {
		/* nothing */
	} else if (libc_thread_is_here()) {
		lock_check_handler(true);
		on_interval(context);
		lock_check_handler(false);
	} else {
		losses_count(unknown_thread);
	}
	end_work();
}

/* Does the program itself handle signals that may come at any time on alternate stacks? Then those are large enough,
 * and its threads may need them: Go's goroutines run on stacks that have no room for a handler, and its runtime handles
 * every signal so, SIGURG above all. In other programs an alternate stack is mostly for a handler of SIGSEGV, and may
 * hardly hold the kernel's frame. */
static bool takes_on_alternate_stacks(void)
{
	static const int at_any_time[] = {SIGURG, SIGPROF};
	for (size_t i = 0; i < sizeof at_any_time / sizeof *at_any_time; i++) {
		struct timers_action now = {0};
		if (timers_set_action(at_any_time[i], NULL, &now) == 0 && (uintptr_t)now.handler > (uintptr_t)SIG_IGN &&
		    now.flags & SA_ONSTACK && now.handler != pprofshim_take_interval)
			return true;
	}
	return false;
}

static struct timers_action action_of(void (*handler)(int, siginfo_t *, void *))
{
	return (struct timers_action){
		.handler = handler,
		.flags = SA_SIGINFO | SA_RESTART | ARCH_SA_RESTORER | (takes_on_alternate_stacks() ? SA_ONSTACK : 0),
		.restorer = pprofshim_restorer,
		.mask = ~(uint64_t)0,
	};
}

/* Libc's handler is saved before ours replaces it, and again from the exchange itself. */
static long install(void *unused)
{
	(void)unused;
	struct timers_action ours = action_of(pprofshim_take_signal), before;
	int r = timers_set_action(SIGNALS_OURS, NULL, &before);
	if (r < 0 || (before.handler == ours.handler && before.flags == ours.flags))
		return r;
	if (before.handler != ours.handler)
		next = before;
	r = timers_set_action(SIGNALS_OURS, &ours, &before);
	if (r == 0 && before.handler != ours.handler)
		next = before;
	return r;
}

void signals_start(const struct signals_takers *who)
{
	takers = who;
}

uint64_t signals_begun(void)
{
	return shared_load_seq_cst(&begun);
}

int signals_begin(void)
{
	shared_or_seq_cst(&begun, OS_SIGNAL_BIT(SIGNALS_OURS));
	int r = (int)timers_inside(install, NULL);
	if (r == 0 && shared_add_seq_cst(&signals_users, 1) == 0)
		waits_watch(WAITS_FOR_SIGNALS, true);
	return r;
}

void signals_end(void)
{
	if (shared_sub_seq_cst(&signals_users, 1) == 1)
		waits_watch(WAITS_FOR_SIGNALS, false);
}

void signals_end_all(void)
{
	shared_store_seq_cst(&signals_users, 0);
	waits_watch(WAITS_FOR_SIGNALS, false);
}

/* Libc installs its handler once, when the first thread is made. */
enum { NOT_READY, BEFORE_THREADS, FOR_GOOD };
static shared_u32 readiness FORKED; /* of these */

void signals_keep(void)
{
	if (!confined() && signals_are_about())
		timers_inside(install, NULL);
}

/* Until then libc's handler may still come. Only an installation after that, by the new thread or by its maker, is for
 * good. */
void signals_keep_from_libc(void)
{
	bool is_first = shared_load_relaxed(&readiness) == BEFORE_THREADS;
	self_calls_begin();
	if (!confined() && (is_first || signals_are_about()))
		timers_inside(install, NULL);
	self_calls_end();
	if (is_first)
		shared_store_relaxed(&readiness, FOR_GOOD);
}

void signals_get_ready(void)
{
	install(NULL);
	if (shared_load_relaxed(&readiness) == NOT_READY)
		shared_store_relaxed(&readiness, BEFORE_THREADS);
}

struct timers_action signals_action_of(void (*handler)(int, siginfo_t *, void *))
{
	struct timers_action a = action_of(handler);
	a.flags &= ~(unsigned long)SA_ONSTACK;
	return a;
}

void *signals_timer_mark(void)
{
	return &timer_mark;
}

static shared_u64 interval_ns FORKED; /* 0: the interval timer is not ours now */
static int interval_pid;              /* its process: a child of vfork sees this memory, and has no timer */

static long begin_fallback(void *period_ns)
{
	struct timers_action ours = action_of(pprofshim_take_interval), before;
	if (timers_interval_us())
		return -EBUSY;
	if (timers_set_action(SIGPROF, NULL, &before) < 0 ||
	    (before.handler && before.handler != pprofshim_take_interval))
		return -EBUSY;
	timers_set_action(SIGPROF, &ours, NULL);
	interval_pid = os_pid();
	shared_store_seq_cst(&interval_ns, *(uint64_t *)period_ns);
	timers_set_interval(*(uint64_t *)period_ns / 1000);
	return 0;
}

int signals_begin_fallback(uint64_t period_ns)
{
	shared_or_seq_cst(&begun, OS_SIGNAL_BIT(SIGPROF));
	return (int)timers_inside(begin_fallback, &period_ns);
}

static long give_up_interval(void *unused)
{
	(void)unused;
	uint64_t ns = interval_pid == os_pid() ? shared_exchange_seq_cst(&interval_ns, 0) : 0;
	if (ns && timers_interval_us() == ns / 1000) /* the program may have set its own */
		timers_set_interval(0);
	return 0;
}

/* The handler stays installed: a signal may still be on its way, and would end the program. */
void signals_end_fallback(void)
{
	timers_inside(give_up_interval, NULL);
}

void signals_give_up_interval(void)
{
	if (shared_load_relaxed(&interval_ns))
		give_up_interval(NULL);
}

bool signals_is_interval_handler(uintptr_t handler)
{
	return handler == (uintptr_t)pprofshim_take_interval;
}

bool signals_interval_given_up(void)
{
	return !shared_load_relaxed(&interval_ns);
}

/* The interval timer outlives exec, but the handler does not: a pending signal would end the new program. Ignoring the
 * signal for a moment discards it. */
bool signals_before_exec(void)
{
	const struct timers_action ignore = {.handler = (void *)SIG_IGN};
	struct timers_action now;
	if (!shared_load_relaxed(&interval_ns) || interval_pid != os_pid())
		return false;
	timers_set_interval(0);
	if (timers_set_action(SIGPROF, NULL, &now) == 0 && now.handler == pprofshim_take_interval) {
		timers_set_action(SIGPROF, &ignore, NULL);
		timers_set_action(SIGPROF, &now, NULL);
	}
	return true;
}

void signals_exec_failed(void)
{
	uint64_t ns = shared_load_relaxed(&interval_ns);
	if (ns) /* else the profile has ended meanwhile */
		timers_set_interval(ns / 1000);
}

/* The kernel checks the call and writes the old action, which is ours. We then replace that by the program's. */
bool signals_set_by_syscall(const long args[], long *result)
{
	const struct timers_action *act = (const void *)args[1];
	struct timers_action *old = (void *)args[2], now;
	if (args[0] != SIGNALS_OURS || timers_set_action(SIGNALS_OURS, NULL, &now) < 0 ||
	    now.handler != pprofshim_take_signal)
		return false;
	*result = real_syscall(SYS_rt_sigaction, args[0], 0, args[2], args[3], 0, 0);
	if (*result < 0)
		return true;
	if (act && !(os_readable(act) && os_readable(&act->mask))) {
		*result = real_syscall(SYS_rt_sigaction, args[0], args[1], args[2], args[3], 0, 0);
		return true;
	}
	struct timers_action wanted = act ? *act : next;
	wanted.mask &= ~(OS_SIGNAL_BIT(SIGKILL) | OS_SIGNAL_BIT(SIGSTOP));
	if (old)
		*old = next;
	next = wanted;
	return true;
}

bool signals_quiesce(unsigned ms)
{
	for (; shared_load_acquire(&at_work); ms--) {
		if (!ms)
			return false;
		pace_sleep(1);
	}
	return true;
}

/* A handler that began before the program was confined may be about to make a system call. It never waits for the
 * program, so it ends as soon as its thread has had a processor. */
void signals_await_handlers(void)
{
	enum { STEP_NS = 100000, MOST_NS = 2000000000 };
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + MOST_NS;
	while (shared_load_acquire(&at_work) && os_step(until, STEP_NS))
		continue;
}

/* Handlers of ours that ran in other threads are not in the child. */
FORKED_CODE void signals_fork_child(void)
{
	shared_set_own(&signals_users, 0);
	waits_watch(WAITS_FOR_SIGNALS, false);
	shared_set_own(&at_work, 0);
	shared_set_own(&begun, 0);
	shared_set_own(&interval_ns, 0); /* interval timers are not inherited */
}
