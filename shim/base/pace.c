/* pace.c - long work of the listener in pieces.
 *
 * Runs in: listener. System calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/pace.h"

#include <errno.h>
#include <sys/mman.h>

#include "shim/arch/entries.h"
#include "shim/base/arena.h"
#include "shim/base/os.h"

enum {
	GUARD_BYTES = 4096,
	STACK_BYTES = 128 * 1024 + GUARD_BYTES, /* only touched pages cost memory */
	SLICE_NS = 20 * 1000 * 1000,
	TURN_MS = 2,
};

static struct {
	struct pace_task *task; /* the one that works now */
	void *sp;               /* where to switch back to */
	uint64_t until_ns;      /* the end of its slice */
	bool in_a_hurry;
} now;

static uint32_t listener = 1; /* which it is; 0: none */

ARCH_SWITCH(pace_switch)

static void enter(void)
{
	struct pace_task *t = now.task;
	t->work(t->arg);
	t->is_done = true;
	pace_switch(&t->sp, now.sp);
	__builtin_trap(); /* a task that is done is never resumed */
}

bool pace_start(struct pace_task *t, void (*work)(void *arg), void *arg)
{
	if (!ARCH_HAS_SWITCH || arena_charge_request(STACK_BYTES) < 0)
		return false;
	char *stack = os_map(STACK_BYTES);
	if (os_failed(stack)) {
		arena_uncharge_request(STACK_BYTES);
		return false;
	}
	os_call(SYS_mprotect, stack, GUARD_BYTES, PROT_NONE);
	*t = (struct pace_task){.stack = stack, .work = work, .arg = arg};
	t->sp = arch_first_frame(stack + STACK_BYTES, enter);
	return true;
}

void pace_go_on(struct pace_task *t)
{
	now.task = t;
	now.until_ns = os_clock_ns(CLOCK_MONOTONIC) + SLICE_NS;
	pace_switch(&now.sp, t->sp);
	now.task = NULL;
}

void pace_finish(struct pace_task *t)
{
	now.in_a_hurry = true;
	while (!t->is_done)
		pace_go_on(t);
	now.in_a_hurry = false;
}

void pace_end(struct pace_task *t)
{
	os_unmap(t->stack, STACK_BYTES);
	arena_uncharge_request(STACK_BYTES);
	t->stack = NULL;
}

static void give_way(uint64_t again_ns)
{
	struct pace_task *t = now.task;
	t->again_ns = again_ns;
	pace_switch(&t->sp, now.sp);
}

bool pace_is_task(void)
{
	return now.task && !now.in_a_hurry;
}

bool pace(void)
{
	if (!pace_is_task())
		return now.task;
	uint64_t ns = os_clock_ns(CLOCK_MONOTONIC);
	if (ns >= now.until_ns)
		give_way(ns);
	return now.in_a_hurry;
}

bool pace_sleep(unsigned ms)
{
	struct timespec step = {.tv_nsec = (long)ms * 1000000};
	if (pace_is_task())
		give_way(os_clock_ns(CLOCK_MONOTONIC) + ms * UINT64_C(1000000));
	else
		os_call(SYS_nanosleep, &step, NULL);
	return now.task && now.in_a_hurry;
}

void pace_begin(void)
{
	now.task = NULL;
	now.in_a_hurry = false;
	listener = listener + 1 ? listener + 1 : 1;
}

bool pace_is_taken(const struct pace_turn *t)
{
	return t->listener == listener;
}

bool pace_take_turn(struct pace_turn *t)
{
	while (pace_is_taken(t))
		if (pace_sleep(TURN_MS) || !pace_is_task())
			return false;
	t->listener = listener;
	return true;
}

void pace_leave_turn(struct pace_turn *t)
{
	t->listener = 0;
}
