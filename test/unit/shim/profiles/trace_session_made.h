/* trace_session_made.h - threads that are traced, and the trace as it is read.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TRACE_SESSION_MADE_H
#define PPROFSHIM_TRACE_SESSION_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/profiles/cpu_trace.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/settings.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/asker.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static int cpu_error;
static struct {
	int begun, drained, ended;
} cpu;

int cpu_trace_begins(struct region *r) /* cpu_trace.c's, these three */
{
	CHECK(r);
	cpu.begun++;
	return cpu_error;
}

int cpu_trace_drain(struct region *r)
{
	CHECK(r);
	cpu.drained++;
	return cpu_error;
}

void cpu_trace_ends(void)
{
	cpu.ended++;
}

static struct heap_row heap_rows[2];
int snapshot_heap(struct region *r, struct heap_snapshot *s) /* heap.c's, these two */
{
	(void)r;
	*s = (struct heap_snapshot){.count = COUNT(heap_rows), .rows = heap_rows};
	return 0;
}

static struct dump_snapshot dump;
static int dump_error;
int snapshot_dump(struct region *r, struct dump_snapshot *s) /* dump.c's */
{
	CHECK(r && trace_is_on()); /* a wait that is not there any more has told of itself */
	*s = dump;
	return dump_error;
}

void snapshot_count_contention(uint64_t counts[CONTENTION_KINDS]) /* delays.c's */
{
	counts[CONTENTION_BLOCK] = counts[CONTENTION_MUTEX] = 0;
}

struct stack *stack_here(uintptr_t function, struct unwind_frame from) /* here.c's */
{
	const uintptr_t pc[] = {function, from.pc};
	return stacks_intern(pc, COUNT(pc));
}

shared_u32 signals_users; /* signals.c's */
/* --- threads ------------------------------------------------------------------------------------- */

enum how { BLOCKED, BUSY };
static struct worker {
	const char *name; /* NULL: it keeps its parent's */
	enum how how;
	bool tells;  /* that it begins, and that it ends */
	int tid;     /* atomic */
	uint32_t go; /* atomic */
	pthread_t thread;
	struct thread_start start;
} workers[200];

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	if (w->name)
		prctl(PR_SET_NAME, w->name);
	if (w->tells) {
		struct thread_start *s = threads_prepare(stacks_intern((uintptr_t[]){0x400000}, 1), NULL, NULL),
				    copy = *s;
		struct thread *mine = threads_begin(s);
		if (self_hold()) {
			trace_born(mine, &copy);
			self_release();
		}
	}
	__atomic_store_n(&w->tid, os_tid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w->go, __ATOMIC_ACQUIRE))
		if (w->how == BLOCKED)
			os_futex_wait(&w->go, 0, NULL);
	if (w->tells)
		trace_ended();
	return NULL;
}

static void wait_until_blocked(int tid)
{
	char state = 0;
	for (int i = 0; i < 5000 && state != 'S'; i++) {
		char path[64], buf[512] = "";
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
		int fd = (int)os_open(path, O_RDONLY);
		CHECK(fd >= 0 && os_read(fd, buf, sizeof buf - 1) > 0);
		os_close(fd);
		state = strrchr(buf, ')')[2];
		usleep(1000);
	}
	CHECK(state == 'S');
}

static struct worker *start(int i, struct worker w)
{
	workers[i] = w;
	CHECK(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0);
	while (!__atomic_load_n(&workers[i].tid, __ATOMIC_ACQUIRE))
		usleep(200);
	if (w.how == BLOCKED)
		wait_until_blocked(workers[i].tid);
	return &workers[i];
}

/* --- traces --------------------------------------------------------------------------------------- */

static struct region region;
static struct trace_snapshot snap;

static void begin(void)
{
	CHECK(snapshot_trace_begin(&region) == 0);
}

static void finish(void)
{
	CHECK(snapshot_trace_end(&snap) == 0);
	CHECK(!trace_is_on());
	CHECK(snap.begin_ns && snap.end_ns >= snap.begin_ns);
	for (size_t i = 0; i < snap.thread_count; i++) {
		CHECK(snap.threads[i].name && (i == 0 || snap.threads[i].tid > snap.threads[i - 1].tid));
		CHECK(snap.threads[i].tid != os_pid()); /* the listener */
	}
	for (size_t i = 0; i < snap.chunk_count; i++)
		for (uint32_t k = 0; k < trace_chunk_count(&snap.chunks[i]);
		     k++) { /* whoever tells anything is among the threads */
			bool known = false;
			for (size_t t = 0; t < snap.thread_count; t++)
				known |= snap.threads[t].tid == snap.chunks[i].at[k].tid;
			CHECK(known);
		}
}

static void give_back(void)
{
	snapshot_trace_release();
	region_release(&region);
}

static const struct trace_thread *thread_in_trace(int tid)
{
	for (size_t i = 0; i < snap.thread_count; i++)
		if (snap.threads[i].tid == tid)
			return &snap.threads[i];
	return NULL;
}

static const struct trace_event *find_event(enum trace_kind kind, int tid, int *count)
{
	const struct trace_event *found = NULL;
	*count = 0;
	for (size_t i = 0; i < snap.chunk_count; i++)
		for (uint32_t k = 0; k < trace_chunk_count(&snap.chunks[i]); k++) {
			const struct trace_event *e = &snap.chunks[i].at[k];
			if (e->kind == kind && e->tid == tid)
				++*count, found = e;
		}
	return found;
}

static int count_of(enum trace_kind kind, int tid)
{
	int count;
	find_event(kind, tid, &count);
	return count;
}

static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	threads_on_reuse(trace_forget);
	threads_start();
	clock_start();
	settings.memory_limit = 64 << 20;
}

static void in_prepared_child(void (*body)(void))
{
#ifdef __SANITIZE_THREAD__
	skip(); /* it has threads of its own */
#endif
	in_child_after(child_begin, body);
}

#endif
