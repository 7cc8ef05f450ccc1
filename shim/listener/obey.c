/* obey.c - handles requests of the program's threads: stop, leave the port, follow a change of user and group ids.
 *
 * Runs in: the listener: in its handler, at any point of what it does otherwise (obey_at_once), and in its loop.
 * So: only raw system calls. The handler waits for nothing but a thread that is changing these ids.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/obey.h"

#include "shim/base/log.h"
#include "shim/base/os.h"
#include "shim/listener/commands.h"
#include "shim/listener/identity.h"
#include "shim/listener/listener.h"
#include "shim/listener/process.h"
#include "shim/listener/state.h"
#include "shim/waits/settle.h"

static void leave_for_later(uint32_t what)
{
	const uint64_t one = 1;
	shared_or_release(&listener_commands.later, what);
	os_write(listener_state.wake_fd, &one, sizeof one);
}

static void say_why(void)
{
	const char *why = shared_exchange_relaxed(&listener_commands.why, NULL);
	if (why)
		log_info(why);
}

static void settle(void)
{
	if (shared_load_acquire(&listener_commands.settles))
		settle_signals();
}

static void have_obeyed(uint32_t what)
{
	shared_and_release(&listener_commands.asked, ~what);
	os_futex_wake(shared_word(&listener_commands.asked), INT32_MAX);
}

void obey_asked(void)
{
	uint32_t asked = shared_load_acquire(&listener_commands.asked);
	if (!asked)
		return;
	if (asked & ASKED_STOP) {
		settle();
		say_why();
		process_leave();
	}
	if (asked & ASKED_ROOM) {
		listener_state.life.leave_port();
		leave_for_later(ASKED_ROOM);
	}
	have_obeyed(asked);
}

void obey_at_once(void)
{
	if (!process_has_parent())
		process_leave();
	identity_follow();
	obey_asked();
}

/* If a thread left a request, sends the handler's signal to ourselves: the work is done there, with the signal blocked.
 */
void listener_look(void)
{
	int tid = shared_load_relaxed(&listener_state.tid);
	if (listener_state.kind == OFFSPRING_PROCESS &&
	    (commands_identity_differs() || shared_load_relaxed(&listener_commands.asked)))
		commands_signal_listener(tid);
}

static void obey_in_thread(void)
{
	uint32_t asked = shared_load_acquire(&listener_commands.asked);
	if (asked & ASKED_CREDENTIALS)
		identity_follow_in_thread();
	if (asked & ASKED_ROOM)
		listener_state.life.move();
	if (asked & ASKED_STOP) {
		settle();
		say_why();
		listener_state.life.stop();
	}
	have_obeyed(asked);
}

void listener_obey(void)
{
	char info[128]; /* struct signalfd_siginfo, or a number */
	while (os_read(listener_state.wake_fd, info, sizeof info) > 0)
		continue;
	if (process_program_has_ended())
		process_leave();
	if (listener_state.kind != OFFSPRING_PROCESS)
		obey_in_thread();
	else if (shared_exchange_acquire(&listener_commands.later, 0) & ASKED_ROOM)
		listener_state.life.move();
}
