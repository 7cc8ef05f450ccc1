/* dump_ask.c - running threads write their own stacks, when the listener asks them by our signal.
 *
 * Runs in: listener; signal handler (dump_answer; dump_refuse, in a thread that libc does not know). So: the handler
 * waits for nothing, and writes only to the slot that it has claimed.
 *
 * Shared: the slots for answers. Each belongs to the listener, then to the thread that claimed it (ASKED to WRITING, by
 * exchange), then to the listener again (DONE). A late answer finds another generation there, and does nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/dump.h"

#include <errno.h>
#include <string.h>

#include "shim/base/arena.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/libc/libc_thread.h"
#include "shim/profiles/dump_parts.h"
#include "shim/stack/sample.h"
#include "shim/waits/restart.h"
#include "shim/waits/signals.h"

enum {
	PLACES = SIGNALS_ASKS, /* threads asked at a time */
	PATIENCE_MS = 1000,    /* for all answers of a dump */
	AGAIN_MS = 5,          /* then we look again at threads that have not answered */
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
	if (dump_take_unasked(d, index))
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
		out->stack = dump_keep_stack(d, s->depth, s->place);
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

/* error: of signals_begin. */
static const char *why_no_handler(int error)
{
	switch (error) {
	case -ENOSPC: return "it runs, and there is no room for one more thread, which asks it (ulimit -u, pids.max)";
	case -ETIME: return "it runs, and no thread takes the signal by which threads are asked now; ask again";
	default: return "the handler of our signal cannot be installed";
	}
}

static void ask_by_turn(struct dump *d, const size_t *running, size_t count)
{
	const char *refused = !count ? NULL : start_answers() < 0 ? "the profiler's own memory is used up" : NULL;
	int error = count && !refused ? signals_begin() : 0;
	if (error)
		refused = why_no_handler(error);
	for (size_t i = 0; refused && i < count; i++)
		d->out->threads[running[i]].reason = refused;
	if (refused || !count)
		return;
	uint64_t deadline_ns = deadline_in(PATIENCE_MS);
	for (size_t i = 0; i < count; i += PLACES)
		ask_some(d, running + i, count - i < PLACES ? count - i : PLACES, deadline_ns);
	signals_end();
}

void dump_ask_running(struct dump *d, const size_t *running, size_t count)
{
	static struct pace_turn turn;
	if (!count || !pace_take_turn(&turn))
		return;
	ask_by_turn(d, running, count);
	pace_leave_turn(&turn);
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
