/* dump_look.c - the stack of a thread that is blocked, or publishes a wait: read from outside.
 *
 * Runs in: listener. So: the thread is not disturbed, its stack is read by ways that cannot fault, and what was read
 * counts only if the thread is found in the same place again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/syscall.h>

#include "shim/base/arena.h"
#include "shim/base/cut.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/base/proc.h"
#include "shim/base/shared.h"
#include "shim/base/text.h"
#include "shim/libc/clock.h"
#include "shim/libc/modules.h"
#include "shim/profiles/dump_parts.h"
#include "shim/stack/sample.h"
#include "shim/stack/unwind.h"
#include "shim/waits/calls.h"
#include "shim/waits/waits.h"

enum {
	TRIES = 20,          /* to find a thread in the same wait before and after a look */
	TRIES_SAME = 5,      /* of these, while it runs and its wait is no newer */
	WINDOW_BYTES = 2048, /* read of a stack at a time */
};

/* A piece of a blocked thread's stack. */
struct window {
	uintptr_t at;
	size_t bytes;
	char stack[WINDOW_BYTES];
};

static bool read_stack(void *memory, uintptr_t at, uintptr_t *value)
{
	struct window *w = memory;
	if (at < w->at || at - w->at + sizeof *value > w->bytes) {
		w->at = at;
		w->bytes = WINDOW_BYTES;
		if (!peek(at, w->stack, w->bytes)) { /* the stack ends before that, with its page */
			w->bytes = 4096 - (at & 4095) < WINDOW_BYTES ? 4096 - (at & 4095) : WINDOW_BYTES;
			if (!peek(at, w->stack, w->bytes)) {
				w->bytes = 0;
				return false;
			}
		}
	}
	memcpy(value, w->stack + (at - w->at), sizeof *value);
	return true;
}

struct stack *dump_keep_stack(struct dump *d, size_t depth, uint64_t place)
{
	struct stack *s = depth ? region_alloc(d->region, sizeof *s + depth * sizeof *d->pcs) : NULL;
	if (!s)
		return NULL;
	s->depth = (uint32_t)depth;
	s->place = place;
	memcpy(s->pc, d->pcs, depth * sizeof *d->pcs);
	return s;
}

/* Locks, conditions and the like all block in futex. */
static bool fits(unsigned call, int nr)
{
	return nr == SYS_futex || waits_kind(call) != DUMP_ADDRESS || call == WAIT_syscall;
}

/* Is the thread in the wait that it publishes? If a jump left that wait, it is further in, or somewhere else. */
static bool is_in_wait(const struct task *t, const struct wait *w)
{
	enum { NEAR = 4096 };
	if (t->state == TASK_BLOCKED && !fits(waits_call(shared_own(&w->state)), t->nr))
		return false;
	return t->state != TASK_BLOCKED || (t->sp < w->frame.sp && w->frame.sp - t->sp < NEAR);
}

static struct unwind_frame frame_of(const struct wait *w)
{
	return (struct unwind_frame){.pc = w->frame.pc, .sp = w->frame.sp, .fp = w->frame.fp};
}

/* Walks only from the wait's frame: the function that was called, then its caller and so on. */
static size_t walk_from_wait(struct dump *d, const struct wait *w, struct window *window)
{
	struct unwind_elsewhere e = {.read = read_stack, .memory = window};
	d->pcs[0] = waits_function(waits_call(shared_own(&w->state)));
	size_t depth = 1 + unwind_walk_elsewhere(frame_of(w), &e, d->pcs + 1, sample_depth());
	return cut_mark(d->pcs, depth, e.cut);
}

/* Walks the stack of a blocked thread. w: its wait, or NULL. *in_wait: it is in that wait. */
static size_t walk_blocked(struct dump *d, const struct task *t, const struct wait *w, bool *in_wait)
{
	static struct window window;
	window.bytes = 0;
	*in_wait = w && is_in_wait(t, w);
	if (t->state == TASK_BLOCKED) {
		/* The hook has a frame pointer (UNWIND_CALLER): it is still in the register, or was saved on the
		 * way. */
		struct unwind_frame at = {.pc = t->pc - 1, .sp = t->sp, .fp = UNWIND_NO_FP};
		struct unwind_elsewhere e = {.read = read_stack, .memory = &window, .is_leaf = true};
		struct unwind_frame mark;
		if (*in_wait) {
			at.fp = w->frame.sp - 2 * sizeof(uintptr_t);
			mark = frame_of(w);
			e.mark = &mark;
		}
		size_t depth = unwind_walk_elsewhere(at, &e, d->pcs, sample_depth());
		if (!e.passed && *in_wait && depth > 2) /* it is somewhere else: a wait that a jump left behind */
			*in_wait = false;
		if (e.passed || !*in_wait)
			return cut_mark(d->pcs, depth, e.cut);
	}
	return *in_wait ? walk_from_wait(d, w, &window) : 0;
}

static const char *numbered(struct region *r, const char *text, int number)
{
	char *copy = region_alloc(r, 64);
	struct line l = {copy, 64, 0};
	if (!copy)
		return text;
	line_str(&l, text);
	line_dec(&l, number);
	return copy;
}

/* A blocked thread in no call of hooks.def: shows what the kernel tells. */
static void name_system_call(struct dump *d, struct dump_thread *out, const struct task *t)
{
	if (t->nr < 0) {
		out->state = "stopped or waiting for memory";
		return;
	}
	const struct system_call *call = calls_find(t->nr);
	if (!call) {
		out->state = numbered(d->region, "system call ", t->nr);
		return;
	}
	bool has_object =
		call->object == DUMP_ADDRESS || (int)t->args[0] > 0 || (call->object == DUMP_FD && t->args[0] == 0);
	out->state = call->shown;
	out->object_kind = has_object ? (enum dump_object)call->object : DUMP_NO_OBJECT;
	out->object = has_object ? t->args[0] : 0;
}

static void name_wait(struct dump_thread *out, const struct wait *w, const struct thread_handles *handles)
{
	unsigned call = waits_call(shared_own(&w->state));
	out->state = waits_shown(call);
	out->object_kind = (enum dump_object)waits_kind(call);
	out->object = w->object;
	if (out->object_kind == DUMP_TID) { /* a pthread_t: find its thread */
		int tid = threads_tid_of(handles, w->object);
		out->object_kind = tid ? DUMP_TID : DUMP_ADDRESS;
		out->object = tid ? (uint64_t)tid : w->object;
	} else if (out->object_kind == DUMP_PID && (int64_t)w->object <= 0) {
		out->object_kind = DUMP_NO_OBJECT;
	} else if (out->object_kind == DUMP_NO_OBJECT) {
		out->object = 0;
	}
}

static int64_t waited_ns(const struct wait *w, int tid)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	return w && w->since_ns ? (now > w->since_ns ? (int64_t)(now - w->since_ns) : 0) : tasks_idle_ns(tid, NULL);
}

static void note_lock(struct dump *d, size_t index, const struct wait *source, const struct wait *w)
{
	int owner = deadlock_owner(w);
	if (owner < 0)
		return;
	d->wait_of[d->wait_count] = index;
	d->waits[d->wait_count++] =
		(struct lock_wait){.tid = d->out->threads[index].tid, .owner_tid = owner, .source = source, .wait = *w};
	d->out->threads[index].owner_tid = owner;
}

/* One try at a thread that is blocked, or publishes a wait. Returns false if it moved meanwhile, or does neither. */
static bool take_waiting(struct dump *d, size_t index, const struct wait *source)
{
	struct dump_thread *out = &d->out->threads[index];
	struct task *t = &d->tasks[index];
	struct wait w;
	struct polled polled;
	bool has_wait = source && waits_read(source, &w), in_wait;
	size_t depth = walk_blocked(d, t, has_wait ? &w : NULL, &in_wait);
	uint64_t place = modules_place_of(d->pcs, depth);
	dump_read_polled(t, &polled);
	struct task after = t->state == TASK_RUNS ? *t : tasks_look(out->tid);
	if (!depth || !tasks_same(t, &after) ||
	    (in_wait && shared_load_acquire(&source->state) != shared_own(&w.state))) {
		*t = after;
		return false;
	}
	out->stack = dump_keep_stack(d, depth, place);
	if (!out->stack)
		out->reason = "the profiler's own memory is used up";
	else if (!in_wait && depth <= 2)
		out->reason = "the kernel does not tell the frame pointer, which the way out needs";
	if (in_wait && waits_call(shared_own(&w.state)) != WAIT_syscall)
		name_wait(out, &w, &d->handles);
	else
		name_system_call(d, out, t);
	dump_keep_polled(d, out, &polled);
	out->since_ns = waited_ns(in_wait ? &w : NULL, out->tid);
	if (in_wait)
		note_lock(d, index, source, &w);
	return true;
}

bool dump_take_unasked(struct dump *d, size_t index)
{
	struct dump_thread *out = &d->out->threads[index];
	struct thread_facts facts = threads_facts(out->tid);
	const struct wait *source = facts.thread ? &facts.thread->wait : NULL;
	uint64_t first = source ? shared_load_relaxed(&source->state) : WAIT_NONE;
	struct task *t = &d->tasks[index];
	out->created_by = facts.created_by;
	for (int i = 0; i < TRIES; i++) {
		struct timespec step = {.tv_nsec = 100000};
		*t = tasks_look(out->tid);
		uint64_t state = source ? shared_load_relaxed(&source->state) : WAIT_NONE;
		if (t->state == TASK_GONE ||
		    ((t->state != TASK_RUNS || state != first) && take_waiting(d, index, source)))
			return true;
		if (t->state == TASK_RUNS && (!waits_call(state) || (state == first && i >= TRIES_SAME)))
			return false;
		os_call(SYS_nanosleep, &step, NULL);
	}
	if (t->state == TASK_RUNS)
		return false;
	out->reason = t->state == TASK_SLEEPS
	                      ? (proc_is_there() ? "blocked in no call of the table, and the kernel does not say where"
	                                         : PROC_IS_MISSING ", which says where it stands")
	                      : "it goes from wait to wait too fast, or its stack cannot be read";
	return true;
}
