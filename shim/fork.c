/* fork.c - what a fork does to us: nothing in the parent, and one list of what is made fit for use in the child.
 *
 * Runs in: app's thread, in libc's fork handlers, in a signal handler, too (fork may be called there); at the first
 * use of us in a child that libc's handlers did not see (house.h).
 * So: no lock, no allocation, no system call beyond getpid (and sigprocmask while our signals are about): fork + exec
 * must not pay for us.
 *
 * No lock is taken around fork. Libc takes its own there, other libraries theirs in their fork handlers, and whoever
 * holds one of those may wait for one of ours, or the other way about. So the child inherits our structures in the
 * middle of any change. They are made for that: sync.h says how.
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
#include "shim/ring.h"
#include "shim/quota.h"
#include "shim/real.h"
#include "shim/sample.h"
#include "shim/sampler.h"
#include "shim/signals.h"
#include "shim/spawn.h"
#include "shim/threads.h"
#include "shim/ticks.h"
#include "shim/timers.h"
#include "shim/trace.h"
#include "shim/unwind.h"

/* Older kernels begin a fork anew when a signal arrives in the middle; of a large program that never ends
 * (ARCHITECTURE.md). Only while our signals are about. */
static FORKED_CODE void prepare(void)
{
	uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1), before = 0;
	if (!signals_are_about())
		return;
	os_call(SYS_rt_sigprocmask, SIG_BLOCK, &ours, &before, sizeof ours);
	if (!(before & ours)) /* else a handler forks that interrupted a fork */
		sampler_thread.blocked = true;
}

static FORKED_CODE void unblock(void)
{
	uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1);
	if (!sampler_thread.blocked)
		return;
	sampler_thread.blocked = false;
	os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &ours, NULL, sizeof ours);
}

/* The one list. Whatever says that somebody is at something is on it: in the child nobody is, but the thread that
 * forked where it was interrupted in our code (house.was_busy). */
static FORKED_CODE void on_copy(void)
{
	house_fork_child();      /* pid, generation */
	lock_fork_child();       /* holders: threads of another generation hold nothing */
	sampler_fork_child();    /* the sequence of random numbers */
	threads_fork_child();    /* records, who sweeps */
	contended_fork_child();  /* who waits for which lock */
	contention_fork_child(); /* counts, rates that requests ask for */
	modules_fork_child();    /* who is in dlclose */
	trace_fork_child();      /* the trace, who writes to it */
	trace_session_fork_child();
	cpu_fork_child();      /* the profile, its timers */
	dump_fork_child();     /* questions and answers */
	ring_fork_child();     /* samples on their way */
	sample_fork_child();   /* copies of stacks */
	ticks_fork_child();    /* ticks on their way */
	timers_fork_child();   /* visits to the thread group */
	signals_fork_child();  /* our signals, handlers at work, the interval timer */
	listener_fork_child(); /* the listener, what it is asked */
	spawn_fork_child();    /* its helper */
	log_fork_child();
}

static FORKED_CODE void child(void)
{
	house_hear_of_copy();
	init_fork_child(); /* a listener of its own, if it stays; a copy that libc was not told of looks as it does bare
	                    */
	unblock();
}

/* What glibc's pthread_atfork, a static function, calls. Looked up, as musl has no such function, and would not load
 * a library that asks for it. */
void fork_start(void)
{
	house_start(on_copy);
	typedef void handler(void);
	int (*add)(handler *, handler *, handler *, void *) =
		(int (*)(handler *, handler *, handler *, void *))real_find_anywhere("__register_atfork").address;
	if (add)
		add(prepare, unblock, child, NULL);
}
