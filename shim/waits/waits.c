/* waits.c - the slow ways of waits.h, and its reader.
 *
 * Runs in: app's thread inside a hook, our signal handler (waits_mark), listener (waits_read and the names).
 * So: no lock, no allocation, no libc; waits_was_cut_short reads errno, as the hook that asks has just had it set.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/waits.h"

#include <signal.h>
#include <string.h>

#include "shim/base/shared.h"
#include "shim/waits/queues.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/libc/locks.h"
#include "shim/base/peek.h"
#include "shim/libc/real.h"
#include "shim/waits/handlers.h"
#include "shim/waits/object.h"

enum {
	/* The system call is made this near below the frame that called the hook. A handler's frames are further away:
	 * the kernel saves more bytes of registers in between. */
	NEAR_BYTES = 1024,
};

shared_u32 waits_watchers FORKED;

void waits_watch(uint32_t watcher, bool on)
{
	if (on)
		shared_or_seq_cst(&waits_watchers, watcher);
	else
		shared_and_seq_cst(&waits_watchers, ~watcher);
}

void waits_reset(struct wait *w)
{
	shared_set_own(&w->cut_short, 0);
	shared_store_release(&w->state, WAIT_NONE);
}

/* A wait is published already. If its frame is further out on this stack, we are in a handler that interrupted that
 * wait, which will go on. Else a jump left it. (A handler on a stack of its own may look like that, too: then the outer
 * wait is not published any more.) */
void waits_nest(struct wait *w, struct wait_scope *s, uintptr_t sp)
{
	if (waits_call(shared_own(&w->state)) != WAIT_CHANGING && sp >= w->frame.sp) {
		queues_leave((struct thread *)(void *)w);
		return;
	}
	s->outer = *w;
	s->nested = true;
}

/* The outer wait goes on with a new number: a reader that saw it before must not mistake what it read in between for
 * it. */
void waits_unnest(struct wait *w, const struct wait_scope *s)
{
	shared_store_relaxed(&w->state, WAIT_CHANGING);
	shared_fence_release();
	uint64_t instance = ++w->instances, call = waits_call(shared_own(&s->outer.state));
	w->object = s->outer.object;
	w->frame = s->outer.frame;
	w->since_ns = s->outer.since_ns;
	w->handled = s->outer.handled;
	shared_set_own(&w->cut_short, 0);
	struct restart *r = &((struct thread *)(void *)w)->restart;
	if (r->cut_state == shared_own(&s->outer.state))
		r->cut_state = instance << 8 | call;
	shared_store_release(&w->state, instance << 8 | call);
}

bool waits_was_cut_short(void)
{
	struct wait *w = waits_self();
	return w && shared_exchange_relaxed(&w->cut_short, 0) && w->handled == self.handled;
}

uint64_t waits_left_ns(uint64_t timeout_ns)
{
	struct wait *w = waits_self();
	uint64_t now = clock_ns(CLOCK_MONOTONIC), since = w ? w->since_ns : 0;
	if (w) {
		struct restart *r = &((struct thread *)(void *)w)->restart;
		r->cut_ns = now;
		r->cut_state = shared_own(&w->state);
	}
	uint64_t gone = since && now > since ? now - since : 0;
	return gone < timeout_ns ? timeout_ns - gone : 0;
}

/* struct sigaction as the kernel has it, up to what is asked for here. */
struct kernel_action {
	uintptr_t handler;
	unsigned long flags;
	uintptr_t restorer;
	uint64_t mask;
};

static struct kernel_action action_of(int sig)
{
	struct kernel_action action = {0};
	os_call(SYS_rt_sigaction, sig, NULL, &action, sizeof action.mask);
	return action;
}

bool waits_signal_restarts(int sig)
{
	return action_of(sig).flags & SA_RESTART;
}

/* Pending signals include ignored ones. */
bool waits_others_are_due(uint64_t signals, unsigned long without_flag, bool not_counted)
{
	uint64_t pending = 0;
	os_call(SYS_rt_sigpending, &pending, sizeof pending);
	for (pending &= signals; pending; pending &= pending - 1) {
		struct kernel_action action = action_of(__builtin_ctzll(pending) + 1);
		if (action.handler > (uintptr_t)SIG_IGN && !(action.flags & without_flag) &&
		    !(not_counted && handlers_counted(action.handler)))
			return true;
	}
	return false;
}

bool waits_is_at(const struct wait *w, uintptr_t sp)
{
	return w && waits_call(shared_own(&w->state)) != WAIT_NONE &&
	       waits_call(shared_own(&w->state)) != WAIT_CHANGING && w->frame.sp - sp <= NEAR_BYTES;
}

bool waits_code_at(uintptr_t pc, struct arch_code *code)
{
	enum { PAGE = 4096 };
	size_t before = pc % PAGE, behind = PAGE - before;
	code->back = before < ARCH_CODE_BACK ? before : ARCH_CODE_BACK;
	code->on = behind < ARCH_CALL_BYTES ? behind : ARCH_CALL_BYTES;
	return peek_in_use(pc - code->back, code->bytes, code->back + code->on);
}

/* Handlers of the program are counted as they run (hooks/signal.c), so pending signals with counted handlers need no
 * check here. */
bool waits_mark(uintptr_t pc, uintptr_t sp, intptr_t result, uint64_t mask)
{
	struct wait *w = waits_self();
	struct arch_code code;
	if (!waits_is_at(w, sp) || !waits_code_at(pc, &code))
		return false;
	if (arch_is_after_call(&code)) {
		if ((result >= 0 || result == -EINTR) && !waits_others_are_due(waits_programs(~mask), 0, true))
			shared_store_relaxed(&w->cut_short, 1);
		return false;
	}
	return arch_is_call(&code) && result >= 0 && waits_others_are_due(waits_programs(~mask), SA_RESTART, false);
}

bool waits_read(const struct wait *w, struct wait *copy)
{
	uint64_t state = shared_load_acquire(&w->state);
	if (waits_call(state) == WAIT_NONE || waits_call(state) == WAIT_CHANGING)
		return false;
	*copy = *w;
	shared_fence_acquire();
	shared_set_own(&copy->state, state);
	return shared_load_relaxed(&w->state) == state;
}

static const struct {
	const char *name;
	unsigned char kind, view;
	void *const *function;
} calls[] = {
	[WAIT_NONE] = {"", DUMP_NO_OBJECT, VIEW_SYSCALL, NULL},
#define HOOK_WAITS(symbol, type, params, args, object_kind, object, view, way, ...) \
	[WAIT_##symbol] = {#symbol, DUMP_##object_kind, VIEW_##view, (void *const *)&real_##symbol},
#define HOOK_WAITS_OWN(symbol, type, params, args, object_kind, view) \
	[WAIT_##symbol] = {#symbol, DUMP_##object_kind, VIEW_##view, (void *const *)&real_##symbol},
#include "shim/hooks.def"
};

const char *waits_name(unsigned call)
{
	return call < WAIT_CALLS ? calls[call].name : "";
}

static const char *const special_names[WAIT_CALLS] = {
#define SHOWN_AS(symbol, name) [WAIT_##symbol] = #name,
#include "shim/hooks.def"
};

enum { TIMED, FOR_EVER };
static const struct waits_lock locks[WAIT_CALLS] = {
#define OWNED(symbol, owner, how_long) [WAIT_##symbol] = {LOCKS_##owner##_AT, how_long},
#include "shim/hooks.def"
};

struct waits_lock waits_lock(unsigned call)
{
	return locks[call < WAIT_CALLS ? call : WAIT_NONE];
}

const char *waits_shown(unsigned call)
{
	const char *name = waits_name(call);
	if (call < WAIT_CALLS && special_names[call])
		return special_names[call];
	while (*name == '_')
		name++;
	return name;
}

unsigned waits_kind(unsigned call)
{
	return call < WAIT_CALLS ? calls[call].kind : DUMP_NO_OBJECT;
}

enum wait_view waits_view(unsigned call)
{
	return call < WAIT_CALLS ? calls[call].view : VIEW_SYSCALL;
}

uintptr_t waits_function(unsigned call)
{
	return call != WAIT_NONE && call < WAIT_CALLS ? real_function(calls[call].function, calls[call].name) : 0;
}
