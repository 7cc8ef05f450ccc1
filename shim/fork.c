/* fork.c - the one list of locks, taken around fork.
 *
 * Runs in: app's thread, in libc's atfork handlers. Ours were registered first: prepare runs last, the others
 * first, so other handlers never find our locks held.
 * So: no system call beyond getpid, no allocation: fork + exec must not pay for us.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/fork.h"

#include <pthread.h>
#include <signal.h>

#include "shim/arena.h"
#include "shim/contended.h"
#include "shim/contention.h"
#include "shim/cpu.h"
#include "shim/dump.h"
#include "shim/heap.h"
#include "shim/house.h"
#include "shim/init.h"
#include "shim/layout.h"
#include "shim/listener.h"
#include "shim/live.h"
#include "shim/log.h"
#include "shim/modules.h"
#include "shim/os.h"
#include "shim/real.h"
#include "shim/ring.h"
#include "shim/sample.h"
#include "shim/sampler.h"
#include "shim/signals.h"
#include "shim/spawn.h"
#include "shim/threads.h"
#include "shim/ticks.h"
#include "shim/timers.h"
#include "shim/trace.h"
#include "shim/unwind.h"

/* Older kernels begin a fork anew when a signal arrives in the middle; of a large program that never ends (HAZARDS 9). Only
 * while our signals are about. */
static bool blocked FORKED; /* by the thread that forks */

static FORKED_CODE bool block_ours(void)
{
	uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1), before = 0;
	if (!signals_are_about())
		return false;
	os_call(SYS_rt_sigprocmask, SIG_BLOCK, &ours, &before, sizeof ours);
	return !(before & ours);
}

static FORKED_CODE void unblock_ours(bool was_blocked)
{
	uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1);
	if (was_blocked)
		os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &ours, NULL, sizeof ours);
}

/* fork may be called in a signal handler that interrupted this thread in the house (it is busy): then it holds some of
 * these locks itself, and goes on in both processes. Nothing is taken then, and the parent gives nothing back. Else: in the order of rank
 * (sync.h). */
static FORKED_CODE void prepare(void)
{
	if (sampler_thread.busy)
		return;
	bool holds = block_ours();
	unwind_fork_prepare();
	modules_fork_prepare();
	heap_fork_prepare();
	live_fork_prepare();
	threads_fork_prepare();
	contention_fork_prepare();
	arena_fork_prepare();
	blocked = holds; /* under the locks: another thread may fork, too */
}

static FORKED_CODE void release_the_rest(void)
{
	live_fork_release();
	heap_fork_release();
	modules_fork_release();
	unwind_fork_release();
}

static FORKED_CODE void parent(void)
{
	if (sampler_thread.busy)
		return;
	bool holds = blocked;
	arena_fork_release();
	contention_fork_parent();
	threads_fork_parent();
	release_the_rest();
	unblock_ours(holds);
}

/* Releases whatever is held, by whomever: there is no other thread any more. */
static FORKED_CODE void child(void)
{
	house_fork_child();
	arena_fork_release();
	contention_fork_child();
	contended_fork_child();
	trace_fork_child();
	threads_fork_child();
	release_the_rest();
	listener_fork_child();
	spawn_fork_child();
	cpu_fork_child();
	dump_fork_child();
	ring_fork_child();
	sample_fork_child();
	ticks_fork_child();
	timers_fork_child();
	signals_fork_child();
	sampler_fork_child((uint64_t)house_pid());
	log_fork_child();
	init_fork_child();
	unblock_ours(blocked);
	blocked = false;
}

/* What glibc's pthread_atfork, a static function, calls. Looked up, as musl has no such function, and would not load a library
 * that asks for it. */
void fork_start(void)
{
	house_start(child);
	typedef void handler(void);
	int (*add)(handler *, handler *, handler *, void *) =
	    (int (*)(handler *, handler *, handler *, void *))real_find_anywhere("__register_atfork").address;
	if (add)
		add(prepare, parent, house_hear_of_copy, NULL);
}
