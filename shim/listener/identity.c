/* identity.c - the program's identity changes, and the listener takes on the new one.
 *
 * Runs in: app's thread around setuid and its like; the listener, in its handler (identity_follow).
 * So: only raw system calls; no lock is held while libc changes the identity (commands.h). The program does not wait:
 * the listener does, before it does anything else.
 *
 * Shared: `credentials` is written by an app's thread while listener_commands.change is odd. The listener copies
 * it, then looks at that number again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/identity.h"

#include <sys/prctl.h>

#include "shim/base/confined.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/listener/commands.h"
#include "shim/listener/credentials.h"
#include "shim/listener/listener.h"
#include "shim/listener/obey.h"
#include "shim/listener/process.h"
#include "shim/listener/spawn.h"
#include "shim/listener/state.h"
#include "shim/listener/visitor.h"

enum {
	HELD_MS = 10000, /* at most so long a change of identity is waited for: its thread may have left it by a jump */
};

/* ---- as the program's threads say it ---- */

static struct credentials credentials;
static uint32_t version_taken; /* the listener's */

bool listener_identity_is_changing(void)
{
	return shared_load_acquire(&listener_commands.change) & 1 &&
	       os_clock_ns(CLOCK_MONOTONIC) < shared_load_relaxed(&listener_commands.since_ns) + HELD_MS * 1000000ull;
}

/* Says that the identity changes, while the program may still signal the listener: from here on that first looks at
 * listener_commands.change, and waits while it is odd. A listener that can't be told ends, and another one comes. */
static void announce_locked(void)
{
	bool was_behind = commands_identity_differs();
	int tid = shared_load_relaxed(&listener_state.tid);
	shared_or_seq_cst(&listener_commands.change, 1);
	shared_store_relaxed(&listener_commands.since_ns, os_clock_ns(CLOCK_MONOTONIC));
	if (listener_state.kind != OFFSPRING_PROCESS || tid <= 0 || commands_signal_listener(tid) == 0 || was_behind)
		return;
	commands_want(ASKED_STOP);
	listener_set_pending(true);
}

static bool anybody_has_to_know(void)
{
	return (shared_load_relaxed(&listener_state.tid) || shared_glance(&listener_pending) || visitor_is_there()) &&
	       !confined() && listener_is_our_process();
}

static struct listener_hold begin_change(void)
{
	struct listener_hold h = {.begun = true};
	uint64_t signals;
	if (commands_take(&signals)) {
		announce_locked();
		listener_commands.under_way++;
		h.births = listener_commands.births;
		h.counted = true;
		commands_release(signals);
	}
	visitor_stop(); /* no other one is made from here on */
	return h;
}

struct listener_hold listener_identity_changes(void)
{
	self_calls_begin();
	struct listener_hold h = anybody_has_to_know() ? begin_change() : (struct listener_hold){0};
	self_calls_end();
	return h;
}

/* Was it counted, and is it still? If not, the listener does not know of it yet. */
static void count_off_locked(const struct listener_hold *h)
{
	if (h->counted && h->births == listener_commands.births && listener_commands.under_way)
		listener_commands.under_way--;
	else
		announce_locked();
}

static void end_change(struct listener_hold h, bool changed)
{
	uint64_t signals;
	visitor_stop();
	if (!commands_take(&signals)) { /* nothing can be said, so nobody may go on */
		listener_set_pending(true);
		commands_want(ASKED_STOP);
		return;
	}
	count_off_locked(&h);
	if (changed)
		credentials_read(&credentials);
	if (!listener_commands.under_way)
		shared_add_seq_cst(&listener_commands.change, 1);
	commands_ring();
	commands_release(signals);
	if (changed && listener_state.kind != OFFSPRING_PROCESS && listener_is_running_here())
		commands_ask(ASKED_CREDENTIALS);
}

void listener_identity_changed(struct listener_hold h, bool changed)
{
	if (!h.begun)
		return;
	self_calls_begin();
	if (!confined())
		end_change(h, changed);
	self_calls_end();
}

void listener_groups_changed(void)
{
	self_calls_begin();
	if (anybody_has_to_know())
		end_change((struct listener_hold){.begun = true}, true);
	self_calls_end();
}

void listener_await_identity(void)
{
	if (!commands_identity_differs())
		return;
	self_calls_begin();
	if (!confined() && listener_is_our_process())
		commands_await_change(&listener_commands.followed, ~0u,
		                      shared_load_acquire(&listener_commands.followed));
	self_calls_end();
}

/* ---- as the listener follows ---- */

/* A change of identity makes all processes that share the memory undumpable: the program may have made itself dumpable
 * since. */
static bool take_without_a_trace(const struct credentials *c)
{
	bool was_dumpable = os_call(SYS_prctl, PR_GET_DUMPABLE) == 1;
	bool taken = credentials_take(c);
	if (was_dumpable && os_call(SYS_prctl, PR_GET_DUMPABLE) != 1)
		os_call(SYS_prctl, PR_SET_DUMPABLE, 1);
	process_mind_parent();
	return taken;
}

/* Ends this listener and has another one started, with the right identity from birth. */
static _Noreturn void give_place(void)
{
	listener_set_pending(true);
	process_end();
}

/* Meanwhile it ends, or leaves its port, if another thread of the program wants that. */
static void await_outcome(uint32_t change)
{
	uint64_t until_ns = os_clock_ns(CLOCK_MONOTONIC) + HELD_MS * 1000000ull;
	for (;;) {
		struct timespec step = {.tv_nsec = 500 * 1000 * 1000};
		uint32_t bell = shared_load_acquire(&listener_commands.bell);
		if (shared_load_acquire(&listener_commands.change) != change)
			return;
		obey_asked();
		os_futex_wait(shared_word(&listener_commands.bell), bell, &step);
		if (!process_has_parent())
			process_end();
		if (os_clock_ns(CLOCK_MONOTONIC) > until_ns)
			give_place();
	}
}

/* Ends the helper: it must keep nothing that the program gives up. */
static void take_identity(uint32_t change)
{
	struct credentials c = credentials;
	shared_fence_acquire();
	if (shared_load_relaxed(&listener_commands.change) != change)
		return; /* it is being written to */
	if (c.version != version_taken) {
		spawn_dismiss();
		bool taken = take_without_a_trace(&c);
		if (!taken && shared_load_acquire(&listener_commands.change) == change)
			give_place();
		version_taken = c.version;
	}
	shared_store_release(&listener_commands.followed, change);
	os_futex_wake(shared_word(&listener_commands.followed), INT32_MAX);
}

void identity_follow(void)
{
	for (uint32_t change;
	     (change = shared_load_acquire(&listener_commands.change)) != shared_own(&listener_commands.followed);) {
		if (change & 1)
			await_outcome(change);
		else
			take_identity(change);
	}
}

void identity_follow_in_thread(void)
{
	spawn_kill();
	credentials_take(&credentials);
}
