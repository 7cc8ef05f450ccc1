/* restart_look.c - note where a thread is blocked, before our signal cuts its call short; tell whether it still is.
 *
 * Runs in: listener (restart_look); our signal handler (the others). So: no lock, no allocation, no libc, errno
 * untouched. A reader copies the note, and drops the copy if the note changed meanwhile
 * (seqlock).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/restart_look.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include "shim/arch/entries.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/threads/tasks.h"
#include "shim/waits/calls.h"
#include "shim/waits/restart.h"
#include "shim/waits/signals.h"

#if ARCH_HAS_RESTART
bool restart_note_read(const struct restart *r, struct restart *note)
{
	uint32_t number = r ? shared_load_acquire(&r->number) : 1;
	if (number & 1)
		return false;
	*note = *r;
	shared_fence_acquire();
	return shared_load_relaxed(&r->number) == number && note->nr >= 0;
}

bool restart_note_is_of(const struct restart *note, ucontext_t *u)
{
	int way = calls_again(note->nr, (long)note->args[1]), time = way >= 0 ? way & ~CALLS_MILLISECONDS : -1;
	for (int i = 0; i < 6; i++)
		if (i != time && note->args[i] != (uint64_t)*arch_argument(u, i))
			return false;
	return note->pc == (uintptr_t)ARCH_PC(u) && note->sp == (uintptr_t)ARCH_SP(u);
}

/* Has the thread hardly run since it was looked at? That is so if the note is young. On a busy machine the signal may
 * come later: it is so, too, if the thread has used no more CPU time since than it takes to wake up. */
static bool has_hardly_run(const struct restart *note)
{
	enum { FRESH_NS = 50000000, WAKING_NS = 200000 };
	return clock_ns(CLOCK_MONOTONIC) - note->looked_ns < FRESH_NS ||
	       os_clock_ns(CLOCK_THREAD_CPUTIME_ID) - note->cpu_ns < WAKING_NS;
}

bool restart_note_is_still(const struct restart *note)
{
	struct rusage usage = {0};
	return has_hardly_run(note) && os_call(SYS_getrusage, RUSAGE_THREAD, &usage) == 0 &&
	       (uint64_t)usage.ru_nvcsw == note->sleeps;
}
#endif

/* Would this call take our signal as one that the program waits for? */
static bool takes_ours(const struct task *k)
{
	uint64_t set;
	return k->nr == SYS_rt_sigtimedwait && peek(k->args[0], &set, sizeof set) && set >> (SIGNALS_OURS - 1) & 1;
}

static void write_note(struct restart *r, long nr, const struct task *k, uint64_t since_ns, uint64_t cpu_ns,
                       uint64_t sleeps, uint32_t handled)
{
	shared_store_relaxed(&r->number, shared_own(&r->number) + 1);
	shared_fence_release();
	r->nr = nr;
	memcpy(r->args, k->args, sizeof r->args);
	r->pc = k->pc;
	r->sp = k->sp;
	r->looked_ns = clock_ns(CLOCK_MONOTONIC);
	r->since_ns = since_ns;
	r->cpu_ns = cpu_ns;
	r->sleeps = sleeps;
	r->handled_then = handled;
	shared_store_release(&r->number, shared_own(&r->number) + 1);
}

bool restart_look(struct thread *t)
{
	struct restart *r = &t->restart;
	uint32_t handled = shared_load_relaxed(&r->handled);
	int tid = shared_load_relaxed(&t->tid);
	uint64_t sleeps = tasks_sleeps(tid);
	struct task k = tasks_look(tid);
	bool blocked = k.state == TASK_BLOCKED && k.nr >= 0 && calls_again(k.nr, (long)k.args[1]) != CALLS_NEVER;
	r->keep_off = blocked && takes_ours(&k);
	if (blocked) {
		uint64_t cpu_ns;
		int64_t idle_ns = tasks_idle_ns(tid, &cpu_ns);
		uint64_t since_ns = idle_ns < 0 ? 0 : clock_ns(CLOCK_MONOTONIC) - (uint64_t)idle_ns;
		write_note(r, handled == shared_load_relaxed(&r->handled) ? k.nr : -1, &k, since_ns, cpu_ns, sleeps,
		           handled);
	}
	return !r->keep_off;
}
