/* delays.c - sampled waits, and delays that lock holders cause, as counters by stack.
 *
 * Runs in: app's thread inside a hook. Any app lock may be held, also the one that was waited for; snapshots and rates
 * in the listener. So: no allocation but the arena's, no dl*, errno preserved; events that can't be recorded are
 * counted as lost. Shared, without a lock: the list of sites. A site is linked at the list's head by one
 * compare-and-exchange before its stack refers to it. Sites are never freed, their counters are atomic. Only the
 * listener writes the rates.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/delays.h"

#include <errno.h>
#include <string.h>

#include "shim/base/random.h"
#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/waits/queues.h"
#include "shim/base/layout.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/profiles/acquires.h"
#include "shim/profiles/trace_events.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"

enum {
	UNIT = 1 << 12, /* of a contention: a kept wait may stand for a fractional number of them */
	ASKING_MOST = 16,
};

struct contention_site {
	struct contention_site *older;
	const struct stack *stack;
	size_t number; /* how many were made before */
	struct {
		shared_u64 contentions; /* in 1 / UNIT */
		shared_u64 delay_ns;    /* written after, read before */
	} of[CONTENTION_KINDS];
};

/* For events that found no room. */
static struct contention_site others = {.stack = &stacks_others};

static struct {
	SHARED(struct contention_site *) newest;
	shared_u64 rate[CONTENTION_KINDS];             /* the finest rate that is asked for */
	uint64_t preset[CONTENTION_KINDS];             /* immutable after init */
	uint64_t asked[CONTENTION_KINDS][ASKING_MOST]; /* by requests; 0: a free place */
} contention FORKED = {.newest = SHARED_INIT(&others)};

static uint64_t rate_of(enum contention_kind kind)
{
	return shared_load_relaxed(&contention.rate[kind]);
}

static struct contention_site *make_site(struct stack *s)
{
	struct contention_site *site = arena_is_full(ARENA_STACKS) ? NULL : arena_alloc_in(ARENA_STACKS, sizeof *site);
	if (!site)
		return NULL;
	site->stack = s;
	site->older = shared_load_acquire(&contention.newest);
	do
		site->number = site->older->number + 1;
	while (!shared_cas_acq_rel(&contention.newest, &site->older, site));
	return site;
}

/* If another thread made the site first, that one is used, and ours counts nothing. Never NULL. */
static struct contention_site *site_of(struct stack *s)
{
	struct contention_site *site = s == &stacks_others ? &others : shared_load_acquire(&s->contention);
	if (site)
		return site;
	struct contention_site *made = make_site(s);
	if (!made) {
		losses_count(stacks_full);
		return &others;
	}
	return shared_cas_acq_rel(&s->contention, &site, made) ? made : site;
}

/* contentions: in 1 / UNIT. */
static void count(enum contention_kind kind, struct stack *s, uint64_t contentions, uint64_t delay_ns)
{
	struct contention_site *site = site_of(s);
	shared_add_relaxed(&site->of[kind].contentions, contentions);
	shared_add_release(&site->of[kind].delay_ns, delay_ns);
}

/* Both callers jump here, so that it adds little to the stack. */
enum { KIND = 1, ALONE = 2 };

/* what: the kind; ALONE: in a call that a handler may make, or leave by a jump (self_hold_alone); with other calls that
 * is the program's mistake. function, via: as in stack_here_via. If this thread is inside the profiler already, the
 * event is lost. */
static __attribute__((noinline)) void record(unsigned what, uintptr_t function, uintptr_t via, struct unwind_frame from,
                                             uint64_t contentions, uint64_t delay_ns)
{
	uint64_t mask;
	if (what & ALONE ? !self_hold_alone(&mask) : !self_hold()) {
		losses_count(contention_nested);
		return;
	}
	count((enum contention_kind)(what & KIND), stack_here_via(function, via, from), contentions, delay_ns);
	if (__builtin_expect(shared_glance(&listener_pending), 0))
		listener_start_pending();
	if (what & ALONE)
		self_release_alone(&mask);
	else
		self_release();
}

/* Returns true once in n times. */
static bool once_in(uint64_t n)
{
	return n == 1 || (uint64_t)((__uint128_t)random_next() * n >> 64) == 0;
}

/* Should a wait of this delay be kept, and how much does it stand for? */
static bool keep_wait(uint64_t delay_ns, uint64_t *contentions, uint64_t *stands_for_ns)
{
	uint64_t rate = rate_of(CONTENTION_BLOCK);
	*contentions = UNIT;
	*stands_for_ns = delay_ns;
	if (rate == 0)
		return false;
	if (delay_ns >= rate)
		return true;
	if ((uint64_t)((__uint128_t)random_next() * rate >> 64) >= delay_ns)
		return false;
	*contentions = rate * UNIT / delay_ns; /* a rate is at most 2^40 (settings.def; requests make it smaller) */
	*stands_for_ns = rate;
	return true;
}

void delays_waited(unsigned call, uint64_t since_ns, uint64_t now_ns, struct unwind_frame from, bool alone)
{
	uint64_t contentions, stands_for_ns, delay_ns = now_ns > since_ns ? now_ns - since_ns : 1;
	if (keep_wait(delay_ns, &contentions, &stands_for_ns))
		record(CONTENTION_BLOCK | (alone ? ALONE : 0), waits_function(call), 0, from, contentions,
		       stands_for_ns);
}

uint64_t delays_lets_go(uintptr_t lock, uintptr_t function, struct unwind_frame from)
{
	if (trace_is_on())
		trace_wakes(lock, function, from);
	return queues_release(lock);
}

/* Whether its release is kept is decided now: the frames are taken for those alone, as other threads may wait. */
void delays_acquired(uintptr_t mutex)
{
	uint64_t fraction = rate_of(CONTENTION_MUTEX);
	struct thread *t = threads_self();
	if (!t || fraction == 0)
		return;
	t->acquire.lock = mutex;
	t->acquire.fraction = 0;
	if (!once_in(fraction))
		return;
	t->acquire.fraction = fraction;
	t->acquire.depth = 0;
	if (self_hold()) {
		acquires_note(&t->acquire, &t->wait.frame);
		self_release();
	}
}

/* Returns the acquire of this lock, if the thread waited for it, which is over now. */
static const struct acquire *take_acquire(uintptr_t lock)
{
	struct thread *t = threads_self();
	if (!t || t->acquire.lock != lock)
		return NULL;
	t->acquire.lock = 0;
	return &t->acquire;
}

static __attribute__((noinline)) uintptr_t find_function(uintptr_t lock, const struct acquire *a, uintptr_t pc,
                                                         uintptr_t sp)
{
	if (!self_hold())
		return 0;
	uintptr_t function = acquires_function(lock, a, pc, sp);
	self_release();
	return function;
}

void delays_caused(uintptr_t lock, uintptr_t function, uint64_t delay_ns, struct unwind_frame from)
{
	const struct acquire *a = take_acquire(lock);
	uint64_t rate = rate_of(CONTENTION_MUTEX), fraction = a ? a->fraction : rate;
	if (delay_ns == 0 || rate == 0 || fraction == 0 || (!a && !once_in(fraction)))
		return;
	uintptr_t via = find_function(lock, a, from.pc, from.sp);
	record(CONTENTION_MUTEX, function, via, from, fraction * UNIT, fraction * delay_ns);
}

/* Sets the finest of the preset rate and those that requests ask for. */
static void set_rate(enum contention_kind kind)
{
	uint64_t rate = contention.preset[kind];
	for (int i = 0; i < ASKING_MOST; i++)
		if (contention.asked[kind][i] && contention.asked[kind][i] < rate)
			rate = contention.asked[kind][i];
	shared_store_relaxed(&contention.rate[kind], rate);
}

void delays_start(uint64_t block_rate_ns, uint64_t mutex_fraction)
{
	contention.preset[CONTENTION_BLOCK] = block_rate_ns;
	contention.preset[CONTENTION_MUTEX] = mutex_fraction;
	set_rate(CONTENTION_BLOCK);
	set_rate(CONTENTION_MUTEX);
	waits_watch(WAITS_FOR_BLOCK, block_rate_ns != 0);
	waits_watch(WAITS_FOR_MUTEX, mutex_fraction != 0);
}

uint64_t snapshot_contention_rate(enum contention_kind kind)
{
	return rate_of(kind);
}

int snapshot_contention_raise(enum contention_kind kind, uint64_t rate)
{
	if (contention.preset[kind] == 0)
		return -ENOSYS;
	for (int i = 0; i < ASKING_MOST; i++)
		if (contention.asked[kind][i] == 0) {
			contention.asked[kind][i] = rate;
			set_rate(kind);
			return i;
		}
	return -EBUSY;
}

void snapshot_contention_restore(enum contention_kind kind, int token)
{
	contention.asked[kind][token] = 0;
	set_rate(kind);
}

int snapshot_contention(struct region *r, enum contention_kind kind, struct contention_snapshot *s)
{
	const struct contention_site *site = shared_load_acquire(&contention.newest);
	*s = (struct contention_snapshot){
		.time_ns = os_clock_ns(CLOCK_REALTIME),
		.count = site ? site->number + 1 : 0,
	};
	s->rows = region_alloc(r, s->count * sizeof *s->rows + 1);
	if (!s->rows)
		return -ENOMEM;
	for (; site; site = site->older) {
		uint64_t delay_ns = shared_load_acquire(&site->of[kind].delay_ns);
		uint64_t contentions = shared_load_relaxed(&site->of[kind].contentions);
		s->rows[site->number] = (struct contention_row){site->stack, (contentions + UNIT / 2) / UNIT, delay_ns};
	}
	return 0;
}

void snapshot_count_contention(uint64_t counts[CONTENTION_KINDS])
{
	counts[CONTENTION_BLOCK] = counts[CONTENTION_MUTEX] = 0;
	for (const struct contention_site *s = shared_load_acquire(&contention.newest); s; s = s->older)
		for (int kind = 0; kind < CONTENTION_KINDS; kind++)
			counts[kind] += shared_load_relaxed(&s->of[kind].contentions) != 0;
}

FORKED_CODE void delays_fork_child(void)
{
	for (struct contention_site *s = shared_own(&contention.newest); s; s = s->older)
		if (shared_own(&s->of[CONTENTION_BLOCK].contentions) ||
		    shared_own(&s->of[CONTENTION_MUTEX].contentions))
			memset(s->of, 0, sizeof s->of); /* else its page need not be copied */
	memset(contention.asked, 0, sizeof contention.asked);
	set_rate(CONTENTION_BLOCK);
	set_rate(CONTENTION_MUTEX);
}
