/* commands.c - pass the listener the requests of the program's threads.
 *
 * Runs in: init and app's threads (any app lock may be held); the listener (commands_signal_listener, which
 * is how it interrupts itself).
 * So: only raw system calls. A thread of the program waits only for an answer that the handler gives, whatever the
 * listener is doing, and only for a bounded time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/commands.h"

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/listener/state.h"

struct listener_commands listener_commands FORKED;

uint64_t commands_block_signals(void)
{
	uint64_t most = ~OS_SIGNAL_BIT(SIGNALS_OURS), before = 0;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &most, &before, sizeof most);
	return before;
}

void commands_unblock_signals(uint64_t before)
{
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
}

bool commands_take(uint64_t *before)
{
	*before = commands_block_signals();
	if (lock_take(&listener_commands.lock, LOCK_COMMANDS))
		return true;
	commands_unblock_signals(*before);
	return false;
}

void commands_release(uint64_t before)
{
	lock_release(&listener_commands.lock);
	commands_unblock_signals(before);
}

/* Sends one of the standard signals by tgkill to a process whose limit of pending signals is 0. Then the kernel notes
 * the signal without using an entry of anyone's limit. An entry that stays in use until the listener runs may be the
 * one that libc lacks to change the identity of a thread. */
long commands_signal_listener(int tid)
{
	return listener_state.kind == OFFSPRING_PROCESS ? os_call(SYS_tgkill, tid, tid, COMMAND_SIGNAL)
	                                                : os_call(SYS_tgkill, house_pid(), tid, WAKE_SIGNAL);
}

bool commands_identity_differs(void)
{
	return shared_load_acquire(&listener_commands.followed) != shared_load_relaxed(&listener_commands.change);
}

void commands_ring(void)
{
	shared_add_release(&listener_commands.bell, 1);
	os_futex_wake(shared_word(&listener_commands.bell), 1);
}

void commands_want(uint32_t what)
{
	shared_or_release(&listener_commands.asked, what);
	commands_ring();
}

void commands_await_change(shared_u32 *word, uint32_t bits, uint32_t value)
{
	for (int waited_ms = 0; waited_ms < ANSWER_MS; waited_ms += 20) {
		struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
		int tid = shared_load_relaxed(&listener_state.tid);
		uint32_t now = shared_load_acquire(word);
		if ((now & bits) != value || tid <= 0 ||
		    (commands_signal_listener(tid) < 0 && !commands_identity_differs()))
			return;
		os_futex_wait(shared_word(word), now, &step);
	}
}

void commands_ask(uint32_t what)
{
	commands_want(what);
	commands_await_change(&listener_commands.asked, what, what);
	if (shared_load_relaxed(&listener_state.tid) <= 0)
		shared_and_relaxed(&listener_commands.asked, ~what);
}

void listener_make_room(void)
{
	self_calls_begin();
	if (!confined())
		commands_ask(ASKED_ROOM);
	self_calls_end();
}
