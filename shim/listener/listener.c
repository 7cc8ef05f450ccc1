/* listener.c - start the listener, and know whether there is one.
 *
 * Runs in: init and app's threads (any app lock may be held); the listener (listener_serves, listener_is_me).
 * So: only raw system calls.
 *
 * Shared: `listener_state` fields are atomic. The lock of commands.h orders the start of a listener, and what is said
 * of the program's identity.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/listener.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/sync.h"
#include "shim/listener/commands.h"
#include "shim/listener/offspring.h"
#include "shim/listener/process.h"
#include "shim/listener/scheduling.h"
#include "shim/listener/state.h"
#include "shim/listener/visitor.h"
#include "shim/threads/tasks.h"
#include "shim/threads/timers.h"
#include "shim/waits/signals.h"
#include "shim/waits/waits.h"

enum {
	AGAIN_NS = 1000000000, /* after the kernel had no process for us */
	LASTS_NS = 1000000000, /* a process that is as old, and calls, is not here for a moment only */
	CALLS_A_LOOK = 64,
	PTRACER = 0x59616d61, /* PR_SET_PTRACER */
};

shared_bool listener_pending FORKED;
bool listener_was_born FORKED;

struct listener_state listener_state FORKED;
struct offspring_room listener_room FORKED;
static shared_u32 calls FORKED; /* that may block, while pending */
static shared_u64 first_call_ns FORKED;
static bool ptracer_is_programs FORKED; /* it chose its debugger itself: our choice would replace that */

void listener_configure(const struct listener_life *life)
{
	listener_state.life = *life;
	listener_state.pid = house_pid();
	listener_state.cookie = os_clock_ns(CLOCK_MONOTONIC) | 1;
	scheduling_start();
}

void listener_serves(uint16_t port)
{
	shared_store_relaxed(&listener_state.port, port);
}

bool listener_serves_port(uint16_t port)
{
	return port && shared_load_relaxed(&listener_state.tid) && shared_load_relaxed(&listener_state.port) == port;
}

int listener_thread_tid(void)
{
	return listener_state.kind == OFFSPRING_PROCESS ? 0 : shared_load_relaxed(&listener_state.tid);
}

bool listener_is_me(void)
{
	return offspring_is_me(&listener_room);
}

bool listener_is_inside(void)
{
	return listener_state.kind != OFFSPRING_PROCESS;
}

/* A vfork child shares our memory, but is another process, and soon another program. */
bool listener_is_our_process(void)
{
	house_look();
	return listener_state.pid == os_pid();
}

bool listener_is_running_here(void)
{
	return shared_load_relaxed(&listener_state.tid) > 0 && listener_is_our_process();
}

void listener_leaves_ptracer_to_program(void)
{
	if (listener_is_our_process())
		ptracer_is_programs = true;
}

/* ---- start ---- */

bool listener_reap(void)
{
	int child = shared_load_relaxed(&listener_state.child);
	if (child && os_call(SYS_wait4, child, NULL, WNOHANG | __WALL, NULL) == 0)
		return false;
	/* another thread may have reaped it, and started the next one */
	shared_cas_relaxed(&listener_state.child, &child, 0);
	return true;
}

static bool same_link(const char *one, const char *other)
{
	char a[64] = "", b[64] = "";
	os_call(SYS_readlinkat, AT_FDCWD, one, a, sizeof a - 1);
	os_call(SYS_readlinkat, AT_FDCWD, other, b, sizeof b - 1);
	return strcmp(a, b) == 0;
}

/* The program's next child will be the first process of another pid namespace: that must not be ours. */
static bool next_child_is_special(void)
{
	return !same_link("/proc/self/ns/pid", "/proc/self/ns/pid_for_children");
}

static int give_birth(bool in_init)
{
	uint64_t all = ~(uint64_t)0, before;
	if (!listener_reap())
		return -EAGAIN;
	if (!in_init && next_child_is_special())
		return -EPERM;
	shared_store_relaxed(&listener_state.ready, LISTENER_STARTING);
	shared_store_relaxed(&listener_commands.asked, 0);
	shared_set_own(&listener_commands.change, 0);
	shared_set_own(&listener_commands.followed, 0);
	shared_set_own(&listener_commands.later, 0);
	shared_set_own(&listener_commands.why, NULL);
	listener_commands.under_way = 0;
	listener_commands.births++;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
	bool lent = scheduling_lend();
	long r = offspring_listener(&listener_room, process_run, &listener_state.tid, &listener_state.kind, in_init);
	scheduling_take_back(lent);
	commands_unblock_signals(before);
	if (r < 0)
		return (int)r;
	tasks_hide(TASKS_LISTENER, &listener_state.tid);
	int child = listener_state.kind == OFFSPRING_PROCESS ? shared_load_relaxed(&listener_state.tid) : 0;
	shared_set_own(&listener_state.child, child);
	listener_was_born |= child != 0;
	if (child && !ptracer_is_programs)
		os_call(SYS_prctl, PTRACER, child); /* Yama: the listener reads what blocked threads wait in */
	if (child) {
		timers_enter_by(visitor_call);
		signals_get_ready();
	}
	return 0;
}

int listener_start(void)
{
	int r = give_birth(true);
	if (r < 0)
		return r;
	struct timespec patience = {.tv_sec = 1};
	while (shared_load_acquire(&listener_state.ready) == LISTENER_STARTING)
		if (os_futex_wait(shared_word(&listener_state.ready), LISTENER_STARTING, &patience) == -ETIMEDOUT)
			return 0; /* it comes later */
	return listener_state.open_error;
}

void listener_set_pending(bool pending)
{
	shared_store_relaxed(&listener_pending, pending);
	waits_watch(WAITS_FOR_LISTENER, pending);
}

static void start_locked(void)
{
	bool expected = true;
	if (!shared_cas_relaxed(&listener_pending, &expected, false))
		return;
	int r = give_birth(false);
	if (r == -EAGAIN || r == -ENOMEM)
		shared_store_relaxed(&listener_pending, true);
	listener_state.again_ns = os_clock_ns(CLOCK_MONOTONIC) + AGAIN_NS;
	waits_watch(WAITS_FOR_LISTENER, shared_glance(&listener_pending));
}

/* No listener is started while an identity changes: it would have the old one. */
static void start_pending(void)
{
	uint64_t signals;
	visitor_start_wanted();
	if (!shared_glance(&listener_pending) || shared_load_relaxed(&listener_commands.lock.word) ||
	    (listener_state.again_ns && os_clock_ns(CLOCK_MONOTONIC) < listener_state.again_ns) ||
	    !commands_take(&signals))
		return;
	if (!listener_identity_is_changing())
		start_locked();
	commands_release(signals);
}

void listener_start_pending(void)
{
	self_calls_begin();
	if (!confined() && listener_is_our_process())
		start_pending();
	self_calls_end();
}

/* Since the first call that we saw: nobody noted when the process began. */
static bool has_lasted(void)
{
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	if (!shared_load_relaxed(&first_call_ns))
		shared_store_relaxed(&first_call_ns, now_ns);
	return now_ns - shared_load_relaxed(&first_call_ns) >= LASTS_NS;
}

/* The clock is a system call, so few calls look at it. */
void listener_start_lasting(void)
{
	uint32_t n = shared_add_relaxed(&calls, 1) + 1;
	if (!shared_glance(&listener_pending) || (n & (n - 1) && n % CALLS_A_LOOK))
		return;
	self_calls_begin();
	if (!confined() && listener_is_our_process() && has_lasted())
		start_pending();
	self_calls_end();
}

FORKED_CODE void listener_fork_child(void)
{
	shared_set_own(&calls, 0);
	shared_set_own(&first_call_ns, 0);
	shared_set_own(&listener_state.tid, 0);
	shared_set_own(&listener_state.child, 0);
	listener_was_born = false;
	listener_state.pid = house_pid();
	shared_set_own(&listener_state.port, 0);
	shared_set_own(&listener_state.faults, 0);
	listener_state.again_ns = 0;
	listener_room.memory = NULL;
	ptracer_is_programs = false; /* the child has no such debugger */
	shared_set_own(&listener_commands.asked, 0);
	shared_set_own(&listener_commands.change, 0);
	shared_set_own(&listener_commands.followed, 0);
	shared_set_own(&listener_commands.settles, false);
	listener_commands.under_way = 0;
	visitor_fork_child();
}
