/* questions.c - ask a running thread for its stack, by a timer that sends our signal.
 *
 * Runs in: listener; a visitor makes the timers (timers_inside). So: no lock, no allocation, no libc. The
 * thread that takes a timer's number out of its place deletes the timer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/questions.h"

#include <errno.h>
#include <time.h>

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/threads/timers.h"
#include "shim/waits/signals.h"

char question_mark;

/* The timers that ask, by the slot's place: the timer's number plus one; 0: none. The thread that takes a number out
 * deletes the timer. */
static shared_u32 asks[SIGNALS_ASKS] FORKED;

static long make_ask(void *request)
{
	struct timers_request *q = request;
	shared_u32 *ask = &asks[(uintptr_t)q->mark % SIGNALS_ASKS];
	if (!timers_begin_making())
		return -EAGAIN;
	int r = timers_make(q);
	if (r == 0)
		shared_store_seq_cst(ask, (uint32_t)q->timer + 1);
	if (r == 0 && timers_are_paused())
		signals_unask((uint32_t)(uintptr_t)q->mark);
	timers_end_making();
	return r;
}

/* Uses a timer because exec discards a timer's pending signal. Another signal would stay, and end the new program,
 * which has no handler for it. The timer runs on the thread's CPU clock: a thread that has blocked meanwhile gets no
 * signal, which could make a call that cannot be set back (restart.h) fail with EINTR. Some emulators have no such
 * clock. */
int signals_ask(int tid, uint32_t slot)
{
	const struct timespec at_once[2] = {{0}, {.tv_nsec = 1}};
	struct timers_request q = {.clock = timers_cpu_clock(tid),
	                           .tid = tid,
	                           .signal = SIGNALS_OURS,
	                           .mark = question_of(slot),
	                           .value = at_once};
	int r = (int)timers_inside(make_ask, &q);
	if (r != -EINVAL || timers_has_ended(house_pid(), tid))
		return r;
	q.clock = CLOCK_MONOTONIC;
	return (int)timers_inside(make_ask, &q);
}

void signals_unask(uint32_t slot)
{
	uint32_t timer = shared_exchange_acq_rel(&asks[slot % SIGNALS_ASKS], 0);
	if (timer)
		timers_delete((int)timer - 1);
}

void signals_unask_all(void)
{
	for (uint32_t i = 0; i < SIGNALS_ASKS; i++)
		if (shared_load_relaxed(&asks[i]))
			signals_unask(i);
}

FORKED_CODE void questions_fork_child(void)
{
	for (int i = 0; i < SIGNALS_ASKS; i++)
		if (shared_own(&asks[i]))
			shared_set_own(&asks[i], 0);
}
