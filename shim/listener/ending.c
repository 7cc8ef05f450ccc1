/* ending.c - end the listener: for a while, for good, and before the program ends.
 *
 * Runs in: app's threads (any app lock may be held), in handlers too, and after the program has confined itself.
 * So: only raw system calls. Each wait is bounded; the program's end takes no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/listener.h"

#include <signal.h>
#include <sys/wait.h>

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/listener/commands.h"
#include "shim/listener/spawn.h"
#include "shim/listener/state.h"
#include "shim/listener/visitor.h"

enum {
	STEP_NS = 100 * 1000,
	KILL_AFTER_MS = 500,
	KILL_LATE_MS = 1800, /* a listener that waits for others before it stops */
	/* how long the program waits for its listener when it ends, in steps of 100 us, after the tenth of 1 ms; most
	 * take one or two */
	STEPS_TO_OBEY = 20,
	STEPS_OF_HELPER = 500,
	STEPS_TO_DIE = 300,
};

/* The kernel clears listener_state.tid when the listener has left our memory, a moment before it is gone. The futex
 * there is shared between processes. */
static bool stop(void)
{
	int tid = shared_load_relaxed(&listener_state.tid);
	bool is_process = listener_state.kind == OFFSPRING_PROCESS;
	int kill_after_ms = shared_load_relaxed(&listener_commands.settles) ? KILL_LATE_MS : KILL_AFTER_MS;
	commands_want(ASKED_STOP);
	for (int steps = 0; steps < ANSWER_MS * 1000000LL / STEP_NS; steps++) {
		struct timespec step = {.tv_nsec = STEP_NS};
		int now = shared_load_relaxed(&listener_state.tid);
		if (now == 0 && (is_process ? listener_reap() : os_call(SYS_tgkill, house_pid(), tid, 0) == -ESRCH))
			return true;
		if (now && now != tid) /* another thread has started the next one */
			return true;
		if (now && steps % 200 == 0 && commands_signal_listener(now) == -EPERM && !commands_identity_differs())
			return false;
		if (now && is_process && steps == kill_after_ms * 1000000LL / STEP_NS)
			os_call(SYS_kill, now, SIGKILL);
		if (now)
			os_call(SYS_futex, shared_word(&listener_state.tid), FUTEX_WAIT, now, &step);
		else
			os_call(SYS_nanosleep, &step, NULL);
	}
	return false;
}

/* A thread that starts a listener holds the lock until that is born. */
static void await_birth(void)
{
	uint64_t signals;
	if (shared_load_seq_cst(&listener_commands.lock.word) && listener_is_our_process() && commands_take(&signals))
		commands_release(signals);
}

static bool stop_both(void)
{
	bool visited = visitor_stop();
	await_birth();
	return listener_is_running_here() ? stop() : visited;
}

bool listener_pause(void)
{
	self_calls_begin();
	bool paused = !confined() && stop_both();
	self_calls_end();
	return paused;
}

bool listener_gives_way_to_thread(void)
{
	return !confined() && listener_is_running_here() && listener_pause();
}

bool listener_stop_for_good(const char *why)
{
	if (!listener_is_our_process())
		return false;
	bool was_wanted = shared_load_relaxed(&listener_pending) || listener_is_running_here();
	listener_set_pending(false);
	shared_store_relaxed(&listener_commands.why, why);
	stop_both();
	return was_wanted;
}

bool listener_stop_before_filter(const char *why)
{
	shared_store_seq_cst(&listener_commands.settles, true);
	bool was_wanted = listener_stop_for_good(why);
	shared_store_seq_cst(&listener_commands.settles, false);
	return was_wanted;
}

void listener_end_late(void)
{
	visitor_end();
	if (listener_is_running_here())
		stop();
}

void listener_resume(void)
{
	if (listener_state.life.main && !shared_load_relaxed(&listener_state.tid))
		listener_set_pending(true);
}

void listener_leaves_mounts(void)
{
	self_calls_begin();
	if (!confined() && os_tid() == house_pid() && stop_both())
		listener_resume();
	self_calls_end();
}

void listener_gives_way_to_waits(long options)
{
	if (!(options & (__WALL | __WCLONE)))
		return;
	self_calls_begin();
	if (!confined())
		listener_stop_for_good(
			"the program waits for children of every kind (__WALL): nothing is served from now on");
	self_calls_end();
}

/* ---- the program's end ---- */

/* Waits until it is gone and reaped: an orphan would become the child of a process that does not expect it. Counted in
 * steps in which the program had a processor: on a busy machine they take longer, for both. */
static bool await_end(int steps)
{
	for (int i = 0, tid; i < steps; i++) {
		struct timespec step = {.tv_nsec = i < 10 ? STEP_NS : 10 * STEP_NS};
		if ((tid = shared_load_acquire(&listener_state.tid)) != 0)
			os_call(SYS_futex, shared_word(&listener_state.tid), FUTEX_WAIT, tid, &step);
		else if (!listener_reap())
			os_call(SYS_nanosleep, &step, NULL);
		else
			return true;
	}
	return false;
}

/* Takes no lock: another thread may hold it for long. First asks the listener to stop, so that it can end and reap its
 * helper; a stopped one only reacts to SIGKILL. */
static void end_at_once(void)
{
	int tid = shared_load_relaxed(&listener_state.tid);
	listener_set_pending(false);
	if (listener_state.kind != OFFSPRING_PROCESS)
		return;
	commands_want(ASKED_STOP);
	if ((tid > 0 && commands_signal_listener(tid) < 0) || await_end(STEPS_TO_OBEY) ||
	    (spawn_is_running() && await_end(STEPS_OF_HELPER)))
		return;
	if ((tid = shared_load_relaxed(&listener_state.tid)) > 0 && os_call(SYS_kill, tid, SIGKILL) == 0)
		await_end(STEPS_TO_DIE);
}

void listener_ends_with_program(void)
{
	self_calls_begin();
	if (!confined() && listener_is_our_process()) {
		commands_block_signals();
		end_at_once();
	}
	self_calls_end();
}

void listener_ends_for_abort(void)
{
	self_calls_begin();
	if (!confined() && listener_is_running_here()) {
		uint64_t signals = commands_block_signals();
		end_at_once();
		listener_resume();
		commands_unblock_signals(signals);
	}
	self_calls_end();
}
