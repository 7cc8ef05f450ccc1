/* fork.c - what a fork changes for us: nothing in the parent; in the child, the list copies.def is made fit for use.
 *
 * Runs in: app's thread, in libc's fork handlers, in a signal handler, too (fork may be called there); at the first use
 * of the library in a child that libc's handlers did not see (house.h).
 * So: no lock, no allocation, no system call but getpid (and sigprocmask while our signals are in use): we must not
 * slow down fork + exec.
 *
 * No lock is taken around fork. Libc takes its own locks there, and other libraries theirs in their fork handlers. A
 * thread that holds one of those may wait for one of ours, or the other way round. So the child inherits our structures
 * in the middle of any change. They are made for that: sync.h says how.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/start/fork.h"

#include <pthread.h>
#include <signal.h>

#include "shim/base/arena.h"
#include "shim/base/confined.h"
#include "shim/waits/queues.h"
#include "shim/profiles/delays.h"
#include "shim/profiles/cpu.h"
#include "shim/profiles/cpu_trace.h"
#include "shim/profiles/dump.h"
#include "shim/profiles/heap.h"
#include "shim/base/house.h"
#include "shim/start/init.h"
#include "shim/base/layout.h"
#include "shim/listener/listener.h"
#include "shim/profiles/live.h"
#include "shim/base/log.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/stack/ring.h"
#include "shim/profiles/quota.h"
#include "shim/libc/real.h"
#include "shim/stack/sample.h"
#include "shim/base/random.h"
#include "shim/profiles/sampling.h"
#include "shim/waits/questions.h"
#include "shim/waits/signals.h"
#include "shim/listener/spawn.h"
#include "shim/threads/creations.h"
#include "shim/threads/threads.h"
#include "shim/profiles/ticks.h"
#include "shim/threads/timers.h"
#include "shim/profiles/trace_events.h"
#include "shim/stack/unwind.h"

/* Older kernels restart a fork when a signal arrives in the middle; for a large program that never ends
 * (ARCHITECTURE.md). Needed only while our signals are in use. */
static FORKED_CODE void prepare(void)
{
	uint64_t ours = OS_SIGNAL_BIT(SIGNALS_OURS), before = 0;
	if (!signals_are_about() || confined())
		return;
	os_call(SYS_rt_sigprocmask, SIG_BLOCK, &ours, &before, sizeof ours);
	if (!(before & ours)) /* else a handler that interrupted a fork forks */
		self.blocked = true;
}

static FORKED_CODE void unblock(void)
{
	uint64_t ours = OS_SIGNAL_BIT(SIGNALS_OURS);
	if (!self.blocked)
		return;
	self.blocked = false;
	os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &ours, NULL, sizeof ours);
}

static FORKED_CODE void on_copy(void)
{
#define COPY(name, what) name##_fork_child();
#include "shim/start/copies.def"
}

static FORKED_CODE void child(void)
{
	house_hear_of_copy();
	init_fork_child(); /* starts a listener, if it stays; a copy that libc was not told of looks as it does bare */
	unblock();
}

/* Uses what glibc's pthread_atfork, a static function, calls. Looked up by name, as musl has no such function, and
 * would not load a library that needs it. */
void fork_start(void)
{
	house_start(on_copy);
	typedef void handler(void);
	int (*add)(handler *, handler *, handler *, void *) =
		(int (*)(handler *, handler *, handler *, void *))real_find_anywhere("__register_atfork").address;
	if (add)
		add(prepare, unblock, child, NULL);
}
