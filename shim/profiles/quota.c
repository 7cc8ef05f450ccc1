/* quota.c - leave the limit of pending signals to the program.
 *
 * Runs in: app's thread inside a hook, in a signal handler too; listener (quota_look).
 * So: no lock, no libc, errno untouched; records are walked without one (threads_each).
 * Shared: `most` is atomic.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/quota.h"

#include <signal.h>
#include <string.h>

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/waits/signals.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/profiles/ticks.h"

enum { DRAIN_NS = 300 * 1000000 };
static shared_u64 draining_until_ns FORKED;              /* 0: not draining */
static shared_u32 most FORKED = SHARED_INIT(UINT32_MAX); /* at most so many timers */

static void drop_all(void)
{
	ticks_drop_all();
	signals_unask_all();
}

/* Drops the timers, and waits for those that are just being made. It does not wait long: this may be a handler that
 * interrupted their maker. */
static void drop_all_surely(void)
{
	drop_all();
	if (!timers_wait_for_makers())
		return;
	drop_all();
}

/* A handler of the program that landed here, and changes the identity, too, would wait for its own thread, and arm all
 * threads once more: it has to wait until this is done. */
static void arm_undisturbed(void)
{
	static const uint64_t all = UINT64_MAX;
	uint64_t mask;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof all);
	ticks_arm_known();
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

void quota_resume(void)
{
	self_calls_begin();
	if (timers_resume() && ticks_are_on() && house_is_ours())
		arm_undisturbed();
	self_calls_end();
}

/* Ends a time of DRAIN_NS after timers were given back, in which hooks look closely: their signals that are on their
 * way to threads without a processor hold entries until they are taken. The count of timers is one higher during that
 * time. */
static bool end_draining(uint64_t until)
{
	if (!until || clock_ns(CLOCK_MONOTONIC) < until)
		return false;
	if (shared_cas_seq_cst(&draining_until_ns, &until, 0))
		timers_note_entry(-1);
	return true;
}

static bool begin_draining(void)
{
	uint64_t none = 0;
	if (!shared_cas_seq_cst(&draining_until_ns, &none, clock_ns(CLOCK_MONOTONIC) + DRAIN_NS))
		return false;
	timers_note_entry(1);
	return true;
}

static bool give_back_at_once(void)
{
	const struct timespec step = {.tv_nsec = 1000000};
	if (!quota_is_used() || !house_is_ours() || end_draining(shared_load_seq_cst(&draining_until_ns)))
		return false;
	if (begin_draining())
		ticks_give_up();
	else
		os_call(SYS_nanosleep, &step, NULL);
	drop_all_surely();
	return true;
}

bool quota_give_back(void)
{
	self_calls_begin();
	bool given = give_back_at_once(); /* not where the program is confined: house_is_ours */
	self_calls_end();
	return given;
}

/* A timer that is made but not set uses an entry, too, and leaves no trace. */
static bool is_room(void)
{
	struct sigevent e;
	int timer;
	memset(&e, 0, sizeof e);
	e.sigev_signo = SIGNALS_OURS;
	e.sigev_notify = SIGEV_SIGNAL;
	long r = os_call(SYS_timer_create, CLOCK_MONOTONIC, &e, &timer);
	if (r == 0)
		os_call(SYS_timer_delete, timer);
	return r != -EAGAIN;
}

/* Waits until an entry is free. Our signals on their way to threads without a processor hold their entries. libc
 * signals one thread after the other, leaves out a thread if it can't send, and so needs an entry. */
static void await_room(void)
{
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + DRAIN_NS;
	while (!is_room() && os_step(until, 1000000))
		continue;
}

static void give_back_for_now(void)
{
	bool used = quota_is_used();
	if (!(used || ticks_are_on()) || !house_is_ours())
		return;
	if (used) {
		ticks_note_pause();
		drop_all_surely();
	}
	if (!confined()) /* by a handler that landed here */
		await_room();
}

void quota_pause(void)
{
	timers_pause();
	self_calls_begin();
	give_back_for_now();
	self_calls_end();
}

void quota_make_room(void)
{
	self_calls_begin();
	if (house_is_ours() && !end_draining(shared_load_seq_cst(&draining_until_ns)))
		while (!is_room() && quota_give_back())
			continue;
	self_calls_end();
}

bool quota_has_room(void)
{
	return timers_held() < shared_load_relaxed(&most);
}

static long give_back(void *unused)
{
	(void)unused;
	return quota_give_back();
}

/* "SigQ:\t12/31000": entries that all processes of the user use, and the limit of this one. */
void quota_look(void)
{
	char text[2048];
	uint64_t used, limit;
	struct span value = {0};
	if (tasks_read(house_pid(), "status", text, sizeof text) > 0)
		value = tasks_value(text, "SigQ");
	bool known = text_parse_uint(span_cut(&value, '/'), 10, &used) && text_parse_uint(value, 10, &limit);
	uint64_t held = timers_held(), left = !known ? UINT32_MAX : used < limit ? limit - used : 0;
	uint64_t half = (held + left) / 2;
	shared_store_relaxed(&most, half < UINT32_MAX ? (uint32_t)half : UINT32_MAX);
	end_draining(shared_load_seq_cst(&draining_until_ns));
	if (left < held / 2)
		timers_inside(give_back, NULL);
}

FORKED_CODE void quota_fork_child(void)
{
	shared_set_own(&draining_until_ns, 0);
}
