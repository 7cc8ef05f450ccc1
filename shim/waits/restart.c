/* restart.c - resume a system call that our signal cut short, so that the program does not notice.
 *
 * Runs in: our signal handler; before handlers of the program's (restart_give_up). So: no lock, no allocation, no libc,
 * errno untouched. The program's code and memory is read in ways that cannot fault: a handler may not read what the
 * thread itself may (protection keys), nor anybody what is only executed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/restart.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/threads/threads.h"
#include "shim/waits/calls.h"
#include "shim/waits/restart_look.h"
#include "shim/waits/restart_transfers.h"
#include "shim/waits/signals.h"
#include "shim/waits/waits.h"

#if ARCH_HAS_RESTART
/* Do system calls leave their return address in a register? 0: not known yet; 1: no; 2: yes. */
static shared_u32 calls_tell;

static bool do_calls_tell(void)
{
	uint32_t tell = shared_load_relaxed(&calls_tell);
	if (!tell && !confined()) {
		tell = arch_calls_tell_handlers() ? 2 : 1;
		shared_store_relaxed(&calls_tell, tell);
	}
	return tell != 1;
}

/* Where the registers say no, which is mostly, the code is not looked at. */
static bool is_before_call(const ucontext_t *u)
{
	struct arch_code code;
	return (arch_may_be_again(u) || !do_calls_tell()) && waits_code_at((uintptr_t)ARCH_PC(u), &code) &&
	       arch_is_call(&code);
}

static bool is_after_call(const ucontext_t *u, struct arch_code *code)
{
	return (arch_may_be_after_call(u) || !do_calls_tell()) && waits_code_at((uintptr_t)ARCH_PC(u), code) &&
	       arch_is_after_call(code);
}

/* Returns the number that the code loads right before it makes the call; -1 if it can't be seen. */
static long number_in_code(const struct arch_code *code)
{
	long nr = arch_number_before(code);
	return nr >= 0 && calls_again(nr, FUTEX_WAIT) != CALLS_NEVER ? nr : -1;
}

static struct restart *restart_of_self(void)
{
	return threads_self() ? &threads_self()->restart : NULL;
}

/* A call that was interrupted. */
struct call {
	long nr;           /* -1: not known */
	uint64_t since_ns; /* 0: not known */
	bool handled;      /* a handler of the program's has run in it */
};

/* If the call itself does not tell whether a handler has run, we go by where the last handler ran. That may be long
 * ago, but a program whose handlers come there can deal with EINTR. */
static struct call call_of(ucontext_t *u, const struct arch_code *code)
{
	struct restart *r = restart_of_self(), note;
	uintptr_t pc = (uintptr_t)ARCH_PC(u), sp = (uintptr_t)ARCH_SP(u);
	bool is_noted = restart_note_read(r, &note) && restart_note_is_of(&note, u);
	if (is_noted && restart_note_is_still(&note))
		return (struct call){note.nr, note.since_ns, note.handled_then != shared_own(&r->handled)};
	bool handled = do_calls_tell() ? arch_call_was_handled(u) : r && r->handled_pc == pc && r->handled_sp == sp;
	return (struct call){is_noted ? note.nr : number_in_code(code), 0, handled};
}

static uint64_t ns_of(const struct timespec *t)
{
	uint64_t ns;
	if (__builtin_mul_overflow((uint64_t)t->tv_sec, 1000000000u, &ns) ||
	    __builtin_add_overflow(ns, (uint64_t)t->tv_nsec, &ns))
		return UINT64_MAX;
	return ns;
}

static uint64_t left_of(uint64_t whole_ns, uint64_t since_ns)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), gone_ns = since_ns && now_ns > since_ns ? now_ns - since_ns : 0;
	return gone_ns < whole_ns ? whole_ns - gone_ns : 0;
}

/* Returns where a sleep stores what is left; 0: nowhere. */
static uintptr_t left_at(ucontext_t *u, long nr)
{
	int left = calls_left(nr);
	return left >= 0 ? (uintptr_t)*arch_argument(u, left) : 0;
}

static bool read_time(uintptr_t at, struct timespec *t)
{
	return peek_in_use(at, &t->tv_sec, sizeof t->tv_sec) &&
	       peek_in_use(at + offsetof(struct timespec, tv_nsec), &t->tv_nsec, sizeof t->tv_nsec);
}

/* Sets the time-out to what is left of it. */
static void cut_time(ucontext_t *u, const struct call *c, int way)
{
	arch_register *arg = way >= 0 ? arch_argument(u, way & ~CALLS_MILLISECONDS) : NULL;
	struct restart *r = restart_of_self();
	if (!arg || !*arg || (way & CALLS_MILLISECONDS && (int)*arg < 0))
		return;
	if (way & CALLS_MILLISECONDS) {
		*arg = (arch_register)((left_of((uint64_t)*arg * 1000000, c->since_ns) + 999999) / 1000000);
	} else if (left_at(u, c->nr)) {
		*arg = (arch_register)left_at(u, c->nr);
	} else if (r && c->since_ns && read_time((uintptr_t)*arg, &r->time)) {
		uint64_t ns = left_of(ns_of(&r->time), c->since_ns);
		r->time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
		*arg = (arch_register)&r->time;
	}
}

static void note_again(uintptr_t pc, uintptr_t sp, bool always)
{
	struct restart *r = restart_of_self();
	if (!r)
		return;
	r->again_sp = sp;
	r->again_always = always;
	r->again_pc = pc;
}

/* The thread is right before a call: the kernel makes it again because our handler has SA_RESTART, or it is made for
 * the first time. */
static void before_call(ucontext_t *u, uint64_t due)
{
	if (calls_again((long)ARCH_NUMBER(u), (long)*arch_argument(u, 1)) == CALLS_NEVER)
		return;
	if (waits_others_are_due(due, SA_RESTART, false))
		arch_fail_call(u, EINTR);
	else
		note_again((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), false);
}

static void set_back(ucontext_t *u, const struct call *c)
{
	int way = c->nr < 0 ? CALLS_NEVER : calls_again(c->nr, (long)*arch_argument(u, 1));
	if (way == CALLS_NEVER)
		return;
	cut_time(u, c, way);
	arch_make_again(u, c->nr);
	note_again((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), true);
}

void restart_interrupted(ucontext_t *u, uint64_t mask)
{
	struct arch_code code;
	intptr_t result = (intptr_t)ARCH_RESULT(u);
	if (is_before_call(u)) {
		before_call(u, waits_programs(~mask));
		return;
	}
	if ((result != -EINTR && result <= 0) || !is_after_call(u, &code))
		return;
	struct call c = call_of(u, &code);
	if (c.nr < 0 || c.handled || waits_others_are_due(waits_programs(~mask), 0, false))
		return;
	if (result > 0)
		restart_go_on_moving(u, c.nr);
	else
		set_back(u, &c);
}

/* By call: the number of the system call that it makes, plus one, if that may move a part; else 0. */
static const uint16_t transfers[WAIT_CALLS] = {
#define MOVES_BY(symbol, nr) [WAIT_##symbol] = SYS_##nr + 1,
#include "shim/hooks.def"
};

/* Sets the thread back to the call of a published wait. The time-out counts from when the wait began, or from when it
 * was cut last. Returns false if the number of the call is not known. */
static bool set_back_in(ucontext_t *u, const struct arch_code *code, const struct wait *w)
{
	struct restart *r = restart_of_self(), note;
	uint64_t state = shared_own(&w->state);
	struct call c = {number_in_code(code), r->cut_state == state ? r->cut_ns : w->since_ns, false};
	if (restart_note_read(r, &note) && restart_note_is_of(&note, u))
		c.nr = note.nr;
	if (c.nr < 0)
		return false;
	set_back(u, &c);
	r->cut_state = state;
	r->cut_ns = clock_ns(CLOCK_MONOTONIC);
	return true;
}

/* A call that is set back is made again, or fails if a handler of the program's comes first: nothing of the thread runs
 * in between. So the hook's own way, by a mark, is only for calls whose number is not known. */
void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w)
{
	struct arch_code code;
	intptr_t result = (intptr_t)ARCH_RESULT(u);
	if (is_before_call(u)) {
		before_call(u, waits_programs(~mask));
		return;
	}
	if ((result != -EINTR && result < 0) || !is_after_call(u, &code) || w->handled != self.handled ||
	    waits_others_are_due(waits_programs(~mask), 0, false))
		return;
	unsigned call = waits_call(shared_own(&w->state));
	long nr = result > 0 && call < WAIT_CALLS ? transfers[call] - 1 : -1;
	if (nr >= 0)
		restart_go_on_moving(u, nr);
	else if (result != -EINTR || !set_back_in(u, &code, w))
		waits_mark((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), result, mask);
}

static void give_up(int sig, ucontext_t *u)
{
	struct restart *r = restart_of_self();
	struct arch_code code;
	if (is_after_call(u, &code))
		arch_tell_of_handler(u);
	if (!r || r->again_pc != (uintptr_t)ARCH_PC(u) || r->again_sp != (uintptr_t)ARCH_SP(u) || !is_before_call(u))
		return;
	r->again_pc = 0;
	if (r->again_always || !waits_signal_restarts(sig))
		arch_fail_call(u, EINTR);
}

void restart_give_up(int sig, ucontext_t *u)
{
	self_calls_begin();
	if (!confined())
		give_up(sig, u);
	self_calls_end();
}
#else
void restart_interrupted(ucontext_t *u, uint64_t mask)
{
	(void)u, (void)mask;
}

void restart_interrupted_in(ucontext_t *u, uint64_t mask, const struct wait *w)
{
	(void)w;
	if (waits_mark((uintptr_t)ARCH_PC(u), (uintptr_t)ARCH_SP(u), (intptr_t)ARCH_RESULT(u), mask))
		arch_fail_call(u, EINTR);
}

void restart_give_up(int sig, ucontext_t *u)
{
	(void)sig, (void)u;
}
#endif
