/* dump.c - the stacks of all threads; blocked threads are not disturbed.
 *
 * Runs in: listener; signal handler (dump_answer).
 *
 * The kernel tells for every thread whether it is blocked, and if so at which stack pointer and program counter
 * (tasks.h). A blocked thread is unwound from outside, from there. Its stack is read like another process's, and does
 * not change meanwhile (we check again afterwards). The kernel does not tell the frame pointer and what the thread
 * waits for: for calls of hooks.def these are in the thread's own record (waits.h).
 * A running thread that publishes a wait is in libc or in the kernel, about to block or just woken. Its stack is read
 * from the frame of the wait on, which holds still as long as the wait lasts. Any other running thread gets our signal
 * and answers in its handler. If it blocks before the signal comes, we look at it again. A thread that can't be reached
 * in time is listed without a stack.
 *
 * Shared: the slots for answers. Each belongs to the listener, then to the thread that claimed it (ASKED to WRITING, by
 * exchange), then to the listener again (DONE). A late answer finds another generation there, and does nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/dump.h"

#include <sys/prctl.h>

#include "shim/base/arena.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/layout.h"
#include "shim/libc/libc_thread.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/peek.h"
#include "shim/base/proc.h"
#include "shim/waits/calls.h"
#include "shim/waits/restart.h"
#include "shim/base/cut.h"
#include "shim/stack/sample.h"
#include "shim/waits/signals.h"
#include "shim/snapshot.h"
#include "shim/profiles/deadlock.h"
#include "shim/threads/descriptors.h"
#include "shim/threads/tasks.h"
#include "shim/base/text.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum {
	PLACES = SIGNALS_ASKS, /* threads asked at a time */
	PATIENCE_MS = 1000,    /* for all answers of a dump */
	AGAIN_MS = 5,          /* then we look again at threads that have not answered */
	TRIES = 20,            /* to find a thread in the same wait before and after a look */
	TRIES_SAME = 5,        /* of these, while it runs and its wait is no newer */
	WINDOW_BYTES = 2048,   /* read of a stack at a time */
};

/* slot: generation << 8 | place; state: slot << 3 | phase */
enum phase { FREE, ASKED, WRITING, DONE, REFUSED };

static struct {
	char *memory; /* PLACES samples; never unmapped */
	shared_u32 state[PLACES];
	bool retired[PLACES]; /* its thread never finished writing: do not use it again */
	uint32_t generation;
	shared_u32 answers; /* a futex */
} answers FORKED;

static struct sample *place_of(uint32_t slot)
{
	return (struct sample *)(void *)(answers.memory + (slot & 0xff) * sample_bytes());
}

static uint32_t state_of(uint32_t slot, enum phase phase)
{
	return slot << 3 | phase;
}

void dump_answer(uint32_t slot, struct unwind_frame f)
{
	uint32_t asked = state_of(slot, ASKED);
	shared_u32 *state = &answers.state[(slot & 0xff) % PLACES];
	if (!shared_cas_acquire(state, &asked, state_of(slot, WRITING)))
		return;
	sample_take(place_of(slot), f);
	shared_store_release(state, state_of(slot, DONE));
	shared_add_release(&answers.answers, 1);
	os_futex_wake(shared_word(&answers.answers), 1);
}

void dump_refuse(uint32_t slot)
{
	uint32_t asked = state_of(slot, ASKED);
	shared_u32 *state = &answers.state[(slot & 0xff) % PLACES];
	if (!shared_cas_release(state, &asked, state_of(slot, REFUSED)))
		return;
	shared_add_release(&answers.answers, 1);
	os_futex_wake(shared_word(&answers.answers), 1);
}

/* A dump under way. */
struct dump {
	struct region *region;
	struct dump_snapshot *out;
	struct task *tasks;      /* one a thread */
	struct lock_wait *waits; /* of the threads that wait for a lock */
	size_t *wait_of;         /* index into threads */
	size_t wait_count;
	uintptr_t *pcs; /* room for one stack */
	struct thread_handles handles;
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

static struct stack *keep_stack(struct dump *d, size_t depth, uint64_t place)
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
	bool has_wait = source && waits_read(source, &w), in_wait;
	size_t depth = walk_blocked(d, t, has_wait ? &w : NULL, &in_wait);
	uint64_t place = modules_place_of(d->pcs, depth);
	struct task after = t->state == TASK_RUNS ? *t : tasks_look(out->tid);
	if (!depth || !tasks_same(t, &after) ||
	    (in_wait && shared_load_acquire(&source->state) != shared_own(&w.state))) {
		*t = after;
		return false;
	}
	out->stack = keep_stack(d, depth, place);
	if (!out->stack)
		out->reason = "the profiler's own memory is used up";
	else if (!in_wait && depth <= 2)
		out->reason = "the kernel does not tell the frame pointer, which the way out needs";
	if (in_wait && waits_call(shared_own(&w.state)) != WAIT_syscall)
		name_wait(out, &w, &d->handles);
	else
		name_system_call(d, out, t);
	out->since_ns = waited_ns(in_wait ? &w : NULL, out->tid);
	if (in_wait)
		note_lock(d, index, source, &w);
	return true;
}

/* Returns false if the thread runs and has to be asked. For a running thread we only trust a wait that began while we
 * looked; an older one may be left over from a jump. */
static bool take_unasked(struct dump *d, size_t index)
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

/* Sets *t to what is left of the patience, as a time to sleep. Returns false if nothing is left. */
static bool time_left(uint64_t deadline_ns, struct timespec *t)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	uint64_t left = now < deadline_ns ? deadline_ns - now : 0;
	*t = (struct timespec){.tv_nsec = (long)(left < AGAIN_MS * 1000000 ? left : AGAIN_MS * 1000000)};
	return left > 0;
}

static const char *ask_failure(int error)
{
	return error == -EAGAIN ? "no signal can be sent: the limit of pending signals is reached (ulimit -i)"
	                        : "no signal can be sent";
}

static const char not_libcs[] =
	"it runs, and libc does not know it (made by a bare clone): a handler cannot be run there";

/* Asks the thread, if it is still running. */
static void ask(struct dump *d, size_t index, uint32_t slot)
{
	struct dump_thread *out = &d->out->threads[index];
	if (tasks_blocks(out->tid, SIGNALS_OURS)) {
		out->reason = "it runs, and blocks signal 33, by which threads are asked";
		return;
	}
	if (take_unasked(d, index))
		return;
	if (!libc_thread_may_be(out->tid)) {
		out->reason = not_libcs;
		return;
	}
	struct thread *t = threads_facts(out->tid).thread;
	if (t && !restart_look(t)) {
		out->reason = "it waits for signal 33, by which threads are asked";
		return;
	}
	if (answers.retired[slot & 0xff]) {
		out->reason = "another thread never finished its answer; ask again";
		return;
	}
	shared_store_release(&answers.state[slot & 0xff], state_of(slot, ASKED));
	int error = signals_ask(out->tid, slot);
	if (error < 0) {
		shared_store_relaxed(&answers.state[slot & 0xff], FREE);
		if (error == -EINVAL) /* no such thread */
			d->tasks[index].state = TASK_GONE;
		out->reason = ask_failure(error);
	}
}

/* Returns true if the place holds an answer, or never will. */
static bool collect(struct dump *d, size_t index, uint32_t slot, bool last_call)
{
	struct dump_thread *out = &d->out->threads[index];
	shared_u32 *state = &answers.state[slot & 0xff];
	uint32_t asked = state_of(slot, ASKED);
	if (shared_load_acquire(state) == state_of(slot, DONE)) {
		struct sample *s = place_of(slot);
		if (s->is_short)
			out->reason = "too much new code at once; ask again";
		sample_finish(s);
		memcpy(d->pcs, s->pc, s->depth * sizeof *d->pcs);
		out->stack = keep_stack(d, s->depth, s->place);
		signals_unask(slot);
		shared_set_own(state, FREE);
		return true;
	}
	if (shared_load_acquire(state) == state_of(slot, REFUSED)) {
		out->reason = not_libcs;
		signals_unask(slot);
		shared_set_own(state, FREE);
		return true;
	}
	if (last_call && shared_cas_relaxed(state, &asked, FREE)) {
		signals_unask(slot);
		out->reason = "it did not answer in time: it has no processor, or is long in the kernel";
	}
	return shared_load_relaxed(state) == FREE;
}

/* A thread that has blocked meanwhile does not answer. */
static void ask_again(struct dump *d, size_t index, uint32_t slot)
{
	uint32_t asked = state_of(slot, ASKED);
	shared_u32 *state = &answers.state[slot & 0xff];
	if (shared_load_relaxed(state) == asked && tasks_look(d->out->threads[index].tid).state != TASK_RUNS &&
	    shared_cas_relaxed(state, &asked, FREE)) {
		signals_unask(slot);
		ask(d, index, slot);
	}
}

/* Threads that were stopped while they wrote keep their places for good. */
static void retire(struct dump *d, const size_t *index, size_t count, uint32_t first)
{
	for (size_t i = 0; i < count; i++)
		if (shared_load_relaxed(&answers.state[i]) == state_of(first | (uint32_t)i, WRITING)) {
			answers.retired[i] = true;
			signals_unask((uint32_t)i);
			d->out->threads[index[i]].reason = "it was stopped while it answered";
		}
}

static uint64_t deadline_in(unsigned ms)
{
	return clock_ns(CLOCK_MONOTONIC) + ms * 1000000ull;
}

/* Waits until an answer comes, or for this time. */
static void wait_for_answers(uint32_t seen, const struct timespec *step)
{
	if (pace_is_task())
		pace_sleep(1);
	else
		os_futex_wait(shared_word(&answers.answers), seen, step);
}

/* Asks `count` running threads at once, and waits for their answers. */
static void ask_some(struct dump *d, const size_t *index, size_t count, uint64_t deadline_ns)
{
	enum { WRITING_MS = 500 };
	uint32_t first = ++answers.generation << 8;
	bool pending = true, last_call = false;
	int writing_ms = 0;
	for (size_t i = 0; i < count; i++, pace())
		ask(d, index[i], first | (uint32_t)i);
	uint64_t again_ns = deadline_in(AGAIN_MS);
	while (pending) {
		struct timespec step;
		uint32_t seen = shared_load_acquire(&answers.answers);
		pending = false;
		for (size_t i = 0; i < count; i++, pace())
			pending |= !collect(d, index[i], first | (uint32_t)i, last_call);
		if (pending && last_call && ++writing_ms > WRITING_MS) {
			retire(d, index, count, first);
			return;
		}
		if (pending && last_call) { /* they are writing, which takes no time once they have a processor */
			pace_sleep(1);
		} else if (pending && time_left(deadline_ns, &step)) {
			wait_for_answers(seen, &step);
			if (clock_ns(CLOCK_MONOTONIC) < again_ns)
				continue;
			for (size_t i = 0; i < count; i++, pace())
				ask_again(d, index[i], first | (uint32_t)i);
			again_ns = deadline_in(AGAIN_MS);
		} else {
			last_call = pending;
		}
	}
}

static int start_answers(void)
{
	if (!answers.memory)
		answers.memory = arena_alloc_in(ARENA_RINGS, PLACES * sample_bytes());
	return answers.memory && sample_start() ? 0 : -ENOMEM;
}

static void ask_by_turn(struct dump *d, const size_t *running, size_t count)
{
	const char *refused = !count ? NULL : start_answers() < 0 ? "the profiler's own memory is used up" : NULL;
	int error = count && !refused ? signals_begin() : 0;
	if (error)
		refused = "the handler of our signal cannot be installed";
	for (size_t i = 0; refused && i < count; i++)
		d->out->threads[running[i]].reason = refused;
	if (refused || !count)
		return;
	uint64_t deadline_ns = deadline_in(PATIENCE_MS);
	for (size_t i = 0; i < count; i += PLACES)
		ask_some(d, running + i, count - i < PLACES ? count - i : PLACES, deadline_ns);
	signals_end();
}

/* Only one dump at a time uses the places for answers: others wait for their turn. */
static void ask_running(struct dump *d, const size_t *running, size_t count)
{
	static struct pace_turn turn;
	if (!count || !pace_take_turn(&turn))
		return;
	ask_by_turn(d, running, count);
	pace_leave_turn(&turn);
}

static void name_owners(struct dump *d)
{
	for (size_t i = 0; i < d->wait_count; i++) {
		struct dump_thread *t = &d->out->threads[d->wait_of[i]];
		pace();
		if (t->owner_tid)
			t->owner_name = tasks_name(d->region, t->owner_tid);
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
		else if (!take_unasked(&d, i))
			asked[running++] = i;
	}
	d.pcs[0] = (uintptr_t)&thread_not_reached;
	s->unreached = keep_stack(&d, 1, 0);
	ask_running(&d, asked, running);
	s->note = why_silent(&d);
	leave_out_ended(&d, asked); /* no thread is asked any more */
	name_owners(&d);
	return find_stuck(&d);
}

/* The parent may have had a dump under way; its answers went to the parent. */
FORKED_CODE void dump_fork_child(void)
{
	for (int i = 0; i < PLACES && answers.generation; i++) {
		shared_set_own(&answers.state[i], FREE);
		answers.retired[i] = false;
	}
}

/* A thread that is writing may go on to do so: its place is not used again. */
void dump_begin_anew(void)
{
	for (uint32_t i = 0; i < PLACES && answers.generation; i++) {
		uint32_t state = shared_load_acquire(&answers.state[i]);
		if ((state & 7) == ASKED && shared_cas_relaxed(&answers.state[i], &state, FREE))
			continue;
		if ((state & 7) == WRITING)
			answers.retired[i] = true;
		else
			shared_store_relaxed(&answers.state[i], FREE);
	}
	signals_unask_all();
}

void snapshot_dump_descriptors(struct region *r, struct dump_snapshot *s)
{
	size_t count = 0, k = 0;
	for (size_t i = 0; i < s->count; i++)
		count += s->threads[i].object_kind == DUMP_FD;
	struct descriptor *at = region_alloc(r, count * sizeof *at + 1);
	if (!at)
		return;
	for (size_t i = 0; i < s->count; i++)
		if (s->threads[i].object_kind == DUMP_FD)
			at[k++] = (struct descriptor){.fd = (int)s->threads[i].object};
	descriptors_name(r, at, count);
	for (size_t i = k = 0; i < s->count; i++)
		if (s->threads[i].object_kind == DUMP_FD)
			s->threads[i].object_name = at[k++].name;
}
