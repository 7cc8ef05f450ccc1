/* dump.c - the stacks of all threads; blocked threads are not disturbed.
 *
 * Runs in: listener. So: no lock of the program's and no libc; each step is a pace (pace.h).
 *
 * The kernel tells for every thread whether it is blocked, and if so at which stack pointer and program counter
 * (tasks.h). A blocked thread is unwound from outside, from there (dump_look.c). Its stack is read like another
 * process's, and does not change meanwhile (we check again afterwards). The kernel does not tell the frame pointer and
 * what the thread waits for: for calls of hooks.def these are in the thread's own record (waits.h). A running thread
 * that publishes a wait is in libc or in the kernel, about to block or just woken. Its stack is read from the frame of
 * the wait on, which holds still as long as the wait lasts. Any other running thread gets our signal and answers in its
 * handler (dump_ask.c). If it blocks before the signal comes, we look at it again. A thread that can't be reached in
 * time is listed without a stack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/dump.h"

#include <errno.h>
#include <sys/prctl.h>

#include "shim/base/arena.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/proc.h"
#include "shim/profiles/deadlock.h"
#include "shim/profiles/dump_parts.h"
#include "shim/snapshot.h"
#include "shim/stack/sample.h"
#include "shim/threads/descriptors.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"

/* A thread that is in the dump has not ended, even where there is no /proc to tell its name. */
static const char *name_in_dump(const struct dump *d, int tid)
{
	for (size_t i = 0; i < d->out->count; i++)
		if (d->out->threads[i].tid == tid)
			return d->out->threads[i].name;
	return NULL;
}

static void name_owners(struct dump *d)
{
	for (size_t i = 0; i < d->wait_count; i++) {
		struct dump_thread *t = &d->out->threads[d->wait_of[i]];
		pace();
		if (t->owner_tid && !(t->owner_name = tasks_name(d->region, t->owner_tid)))
			t->owner_name = name_in_dump(d, t->owner_tid);
	}
}

/* Stores the chain of a ring from its first thread on. */
static size_t follow(struct dump *d, size_t start, size_t *chain)
{
	size_t n = 0, i = start;
	do {
		chain[n++] = d->wait_of[i];
		i = d->waits[i].next;
	} while (i != start);
	return n;
}

static int find_stuck(struct dump *d)
{
	size_t n = d->wait_count, chained = 0;
	size_t *ring = region_alloc(d->region, n * sizeof *ring + 1),
	       *chain = region_alloc(d->region, n * sizeof *chain + 1);
	struct dump_snapshot *out = d->out;
	out->stuck = region_alloc(d->region, n * sizeof *out->stuck + 1);
	if (!ring || !chain || !out->stuck)
		return -ENOMEM;
	deadlock_find_rings(d->region, d->waits, n, ring);
	for (size_t i = 0, told = 0; i < n; i++)
		if (ring[i] > told) { /* its first */
			size_t length = follow(d, i, chain + chained);
			out->stuck[out->deadlock_count++] = (struct dump_stuck){true, length, chain + chained};
			chained += length;
			told = ring[i];
		}
	for (size_t i = 0; i < n; i++)
		if (!ring[i] && out->threads[d->wait_of[i]].since_ns >= STUCK_STALLED_NS) {
			chain[chained] = d->wait_of[i];
			out->stuck[out->deadlock_count++] = (struct dump_stuck){false, 1, chain + chained++};
		}
	return 0;
}

/* Explains threads that are blocked at a place that the kernel does not tell. The kernel tells it only if the process
 * is dumpable, or to a process that may trace it. Whether it is dumpable belongs to the memory, which the listener
 * shares. */
static const char *why_silent(const struct dump *d)
{
	bool is_silent = false;
	for (size_t i = 0; i < d->out->count; i++)
		is_silent |= d->tasks[i].state == TASK_SLEEPS;
	if (is_silent && !proc_is_there())
		return "threads that wait in calls that are not recorded have no stacks: " PROC_IS_MISSING
		       ", which says where they are; mount it there (mount -t proc)";
	return !is_silent || os_call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0) == 1
	               ? NULL
	               : "threads that are blocked in calls that are not recorded have no stacks: the kernel does not "
	                 "say where they are, as the process is not dumpable (after setuid and the like); "
	                 "prctl(PR_SET_DUMPABLE, 1) in the program helps, or the capability CAP_SYS_PTRACE";
}

static void begin_thread(struct dump *d, size_t index, int tid)
{
	const char *name = tasks_name(d->region, tid);
	d->out->threads[index] = (struct dump_thread){
		.tid = tid,
		.name = name ? name : "",
		.state = "running",
		.since_ns = -1,
	};
}

/* Removes threads that ended meanwhile: later ones move up, and so do the indices of the waits (which are in any order:
 * some threads were found waiting when they were about to be asked). now_at: room for one index per thread. */
static void leave_out_ended(struct dump *d, size_t *now_at)
{
	size_t kept = 0;
	for (size_t i = 0; i < d->out->count; i++) {
		now_at[i] = kept;
		if (d->tasks[i].state != TASK_GONE)
			d->out->threads[kept++] = d->out->threads[i];
	}
	for (size_t w = 0; w < d->wait_count; w++)
		d->wait_of[w] = now_at[d->wait_of[w]];
	d->out->count = kept;
}

/* The only frame of threads without a stack: its name says so. Never called. */
static __attribute__((used, noinline)) void thread_not_reached(void)
{
	__asm__ volatile("");
}

int snapshot_dump(struct region *r, struct dump_snapshot *s)
{
	size_t count, running = 0;
	int *tids = tasks_list(r, &count);
	*s = (struct dump_snapshot){.time_ns = os_clock_ns(CLOCK_REALTIME), .count = count};
	struct dump d = {
		.region = r,
		.out = s,
		.tasks = region_alloc(r, count * sizeof *d.tasks + 1),
		.waits = region_alloc(r, count * sizeof *d.waits + 1),
		.wait_of = region_alloc(r, count * sizeof *d.wait_of + 1),
		.pcs = region_alloc(r, (sample_depth() + 2) * sizeof *d.pcs),
	};
	size_t *asked = region_alloc(r, count * sizeof *asked + 1);
	s->threads = region_alloc(r, count * sizeof *s->threads + 1);
	if (!threads_handles(r, &d.handles) || !tids || !d.tasks || !d.waits || !d.wait_of || !d.pcs || !asked ||
	    !s->threads)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (pace())
			return -ECANCELED;
		begin_thread(&d, i, tids[i]);
		if (tasks_is_kernels(tids[i]))
			d.tasks[i].state = TASK_GONE; /* it has no stack of the program's: left out */
		else if (!dump_take_unasked(&d, i))
			asked[running++] = i;
	}
	d.pcs[0] = (uintptr_t)&thread_not_reached;
	s->unreached = dump_keep_stack(&d, 1, 0);
	dump_ask_running(&d, asked, running);
	s->note = why_silent(&d);
	leave_out_ended(&d, asked); /* no thread is asked any more */
	name_owners(&d);
	return find_stuck(&d);
}

/* Returns what is to be named of a thread: its descriptor, or those that it polls. */
static struct descriptor descriptor_of(struct region *r, const struct dump_thread *t)
{
	struct descriptor one = {.fd = t->object_kind == DUMP_FD ? (int)t->object : -1};
	if (t->object_kind != DUMP_FDS || !(one.targets = region_alloc(r, t->polled_count * sizeof *one.targets)))
		return one;
	for (size_t i = 0; i < t->polled_count; i++)
		one.targets[i] = (struct descriptor){.fd = t->polled[i]};
	one.target_count = t->polled_count;
	one.target_total = t->object;
	return one;
}

static bool has_descriptor(const struct dump_thread *t)
{
	return t->object_kind == DUMP_FD || t->object_kind == DUMP_FDS;
}

void snapshot_dump_descriptors(struct region *r, struct dump_snapshot *s)
{
	size_t count = 0, k = 0;
	for (size_t i = 0; i < s->count; i++)
		count += has_descriptor(&s->threads[i]);
	struct descriptor *at = region_alloc(r, count * sizeof *at + 1);
	if (!at)
		return;
	for (size_t i = 0; i < s->count; i++)
		if (has_descriptor(&s->threads[i]))
			at[k++] = descriptor_of(r, &s->threads[i]);
	descriptors_name(r, at, count);
	for (size_t i = k = 0; i < s->count; i++)
		if (has_descriptor(&s->threads[i]))
			s->threads[i].object_name = at[k++].name;
}
