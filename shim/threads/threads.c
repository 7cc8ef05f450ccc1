/* threads.c - keep a record of every living thread.
 *
 * Runs in: app's thread inside pthread_create, new threads, threads in a trace; snapshot_threads and the look-ups in
 * the listener. So: no allocation but the arena's; errno preserved. Shared: everything here, under threads.lock (rank
 * THREADS), but for the list of blocks of records, which is read without it (linked with release stores, never freed),
 * and for what a thread writes in its own record (waits.h). No system call but the arena's is made while the lock is
 * held: threads that begin wait for it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/threads.h"

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/losses.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"
#include "shim/base/sync.h"
#include "shim/threads/creations.h"
#include "shim/threads/tasks.h"
#include "shim/threads/timers.h"

enum {
	SLOTS = 256,
	SWEEP_FROM = 256,
	CACHE_LINE = 64, /* records of two threads share none */
	RECORDS_AT_ONCE = 16,
};

/* Records made together. */
struct record_block {
	struct record_block *older;
	struct thread *first; /* the others follow at RECORD_BYTES */
};
enum { RECORD_BYTES = (sizeof(struct thread) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE };

static struct {
	struct lock lock;
	struct thread *slot[SLOTS]; /* by tid */
	SHARED(struct record_block *) blocks;
	struct thread *spare;
	shared_size entered;  /* entries in the slots */
	shared_size sweep_at; /* look for ended threads when there are so many */
} threads FORKED = {.sweep_at = SHARED_INIT(SWEEP_FROM)};

struct thread_start *threads_prepare(struct stack *stack, void *(*routine)(void *), void *arg)
{
	if (!lock_take(&threads.lock, LOCK_THREADS)) {
		losses_count(thread_lock_not_had);
		return NULL;
	}
	struct thread_site *site = creations_site_of_locked(stack);
	struct thread_start *t = creations_take_locked();
	lock_release(&threads.lock);
	if (t)
		*t = (struct thread_start){.routine = routine, .arg = arg, .site = site};
	else
		losses_count(thread_no_memory);
	return t;
}

void threads_cancel(struct thread_start *t)
{
	if (!lock_take(&threads.lock, LOCK_THREADS))
		return; /* a few bytes are lost */
	creations_give_back_locked(t);
	lock_release(&threads.lock);
}

uint32_t threads_take_timer(struct thread *t)
{
	uint32_t timer = shared_load_seq_cst(&t->timer);
	while (timer != THREAD_NO_TIMER && timer != THREAD_TIMER_BEING_MADE)
		if (shared_cas_acq_rel(&t->timer, &timer, THREAD_NO_TIMER))
			return timer;
	return THREAD_NO_TIMER;
}

void threads_drop_timer(uint32_t timer)
{
	if (timer != THREAD_NO_TIMER)
		timers_delete((int)timer - 1);
}

/* Other rooms forget what they keep in a record. Immutable after init. */
static void forget_nothing(struct thread *t)
{
	(void)t;
}

static void (*forget_rest)(struct thread *t) = forget_nothing;

void threads_on_reuse(void (*forget)(struct thread *t))
{
	forget_rest = forget;
}

/* From now on the record is nobody's. Returns its timer. */
static uint32_t clear_locked(struct thread *t)
{
	shared_store_seq_cst(&t->tid, 0); /* before its timer is looked for: ticks.c */
	forget_rest(t);
	return threads_take_timer(t);
}

static struct thread *find_locked(int tid)
{
	struct thread *t = threads.slot[(unsigned)tid % SLOTS];
	while (t && shared_own(&t->tid) != tid)
		t = t->next;
	return t;
}

/* Remove the record of a thread that has ended, if it was not used since. Returns its timer. */
static uint32_t remove_locked(struct thread *t, int tid, uint32_t entered)
{
	struct thread **at = &threads.slot[(unsigned)tid % SLOTS];
	while (*at && *at != t)
		at = &(*at)->next;
	if (!*at || shared_own(&t->tid) != tid || shared_own(&t->entered) != entered)
		return THREAD_NO_TIMER;
	SET(*at, t->next);
	uint32_t timer = clear_locked(t);
	SET(t->next, threads.spare);
	SET(threads.spare, t);
	shared_set_own(&threads.entered, shared_own(&threads.entered) - 1);
	return timer;
}

static void remove_if_ended(struct thread *t, void *pid)
{
	uint32_t entered = shared_load_acquire(&t->entered);
	int tid = shared_load_relaxed(&t->tid);
	if (!tid || !timers_has_ended(*(int *)pid, tid))
		return;
	if (!lock_take(&threads.lock, LOCK_THREADS))
		return;
	uint32_t timer = remove_locked(t, tid, entered);
	lock_release(&threads.lock);
	threads_drop_timer(timer);
}

/* Is it time to sweep, and does nobody else? Then the caller sweeps. */
static bool begin_sweep_locked(void)
{
	if (shared_own(&threads.entered) < shared_own(&threads.sweep_at))
		return false;
	shared_set_own(&threads.sweep_at, SIZE_MAX);
	return true;
}

/* Threads don't tell when they end (they may end in many ways). The sweep finds tids that are gone, at a cost that is
 * spread over the births since the last one. */
static void sweep(void)
{
	int pid = house_pid();
	threads_each(remove_if_ended, &pid);
	size_t entered = shared_load_relaxed(&threads.entered);
	shared_store_relaxed(&threads.sweep_at, entered * 2 > SWEEP_FROM ? entered * 2 : SWEEP_FROM);
}

/* More records, which were never used. */
static void make_locked(void)
{
	struct record_block *b = arena_alloc(sizeof *b);
	char *at = b ? arena_alloc(RECORDS_AT_ONCE * RECORD_BYTES + CACHE_LINE) : NULL;
	if (!at)
		return;
	at += -(uintptr_t)at % CACHE_LINE;
	b->first = (void *)at;
	b->older = shared_own(&threads.blocks);
	shared_store_release(&threads.blocks,
	                     b); /* before they are spare: a fork child may have to find them all here */
	for (int i = RECORDS_AT_ONCE - 1; i >= 0; i--) {
		struct thread *t = (void *)(at + i * RECORD_BYTES);
		SET(t->next, threads.spare);
		SET(threads.spare, t);
	}
}

static struct thread *take_locked(void)
{
	if (!threads.spare)
		make_locked();
	struct thread *t = threads.spare;
	if (t)
		SET(threads.spare, t->next);
	return t;
}

/* begins: a thread with this tid begins now. A record with the same tid is then that of a thread that has ended: the
 * kernel uses tids again. */
static struct thread *enter_locked(int tid, bool begins, uint32_t *timer)
{
	struct thread *t = find_locked(tid);
	*timer = THREAD_NO_TIMER;
	if (t)
		shared_add_release(&t->entered, 1); /* from now on no sweep takes it for an ended
		                                     * one's */
	if (t && !begins)
		return t;
	if (t) {
		*timer = clear_locked(t);
	} else {
		t = take_locked();
		if (!t)
			return NULL;
		forget_rest(t); /* in a fork child it may hold what the parent left */
		SET(t->next, threads.slot[(unsigned)tid % SLOTS]);
		SET(threads.slot[(unsigned)tid % SLOTS], t);
		shared_set_own(&threads.entered, shared_own(&threads.entered) + 1);
		shared_set_own(&t->entered, shared_own(&t->entered) + 1);
	}
	t->site = NULL;
	shared_set_own(&t->handle, 0);
	shared_store_release(&t->tid, tid);
	return t;
}

/* Threads where there is no /proc: those that libc made. */
struct passing {
	void (*each)(void *arg, int tid);
	void *arg;
};

static void pass_on(struct thread *t, void *arg)
{
	const struct passing *p = arg;
	int tid = shared_load_relaxed(&t->tid), pid = house_pid();
	if (tid > 0 && tid != pid && !timers_has_ended(pid, tid))
		p->each(p->arg, tid);
}

static void each_living(void (*each)(void *arg, int tid), void *arg)
{
	int pid = house_pid();
	if (!timers_has_ended(pid, pid))
		each(arg, pid);
	threads_each(pass_on, &(struct passing){each, arg});
}

void threads_start(void)
{
	tasks_otherwise(each_living);
	threads_enter_busy();
}

struct thread *threads_enter(int tid)
{
	uint32_t timer;
	if (!lock_take(&threads.lock, LOCK_THREADS))
		return NULL;
	struct thread *t = enter_locked(tid, false, &timer);
	bool to_sweep = begin_sweep_locked();
	lock_release(&threads.lock);
	if (to_sweep)
		sweep();
	return t;
}

/* For a thread that this library did not see begin. A child of vfork has its parent's memory, and a tid that is not
 * this process's. */
struct thread *threads_enter_busy(void)
{
	if (!house_is_ours())
		return NULL;
	int tid = os_tid();
	lock_know_tid(tid);
	return self.thread = threads_enter(tid);
}

struct thread *threads_enter_self(void)
{
	uint64_t mask;
	if (!house_is_on() || !self_hold_alone(&mask))
		return NULL;
	struct thread *t = threads_enter_busy();
	self_release_alone(&mask);
	return t;
}

struct thread *threads_begin(struct thread_start *t)
{
	if (confined()) /* since threads_prepare: the thread stays without a record, and t is lost */
		return NULL;
	int tid = os_tid();
	uint32_t timer;
	lock_know_tid(tid);
	if (!lock_take(&threads.lock, LOCK_THREADS))
		return NULL; /* its first wait makes it known */
	struct thread *mine = enter_locked(tid, true, &timer);
	if (mine) {
		mine->site = t->site;
		shared_set_own(&mine->handle, t->handle);
	}
	creations_give_back_locked(t);
	bool to_sweep = begin_sweep_locked();
	lock_release(&threads.lock);
	threads_drop_timer(timer);
	if (to_sweep)
		sweep();
	return self.thread = mine;
}

void threads_each(void (*each)(struct thread *t, void *arg), void *arg)
{
	for (struct record_block *b = shared_load_acquire(&threads.blocks); b; b = b->older)
		for (size_t i = 0; i < RECORDS_AT_ONCE; i++) {
			struct thread *t = (void *)((char *)b->first + i * RECORD_BYTES);
			if (shared_load_relaxed(&t->tid))
				each(t, arg);
		}
}

struct thread_facts threads_facts(int tid)
{
	if (!lock_take(&threads.lock, LOCK_THREADS))
		return (struct thread_facts){0};
	struct thread *t = find_locked(tid);
	struct thread_facts f = {t, t ? threads_site_stack(t->site) : NULL};
	lock_release(&threads.lock);
	return f;
}

static FORKED_CODE void forget_in_child(struct thread *t)
{
	shared_set_own(&t->tid, 0);
	shared_set_own(&t->timer, THREAD_NO_TIMER); /* timers are not inherited */
	shared_set_own(&t->waits_for, NULL);        /* its queue is gone */
	shared_set_own(&t->is_tracing, 0);
	if (t == self.thread)
		return;
	t->next = threads.spare;
	threads.spare = t;
}

/* Every record becomes a spare one, even one that another thread was just linking. */
static FORKED_CODE void gather_all_records(void)
{
	threads.spare = NULL;
	creations_forget_starts();
	for (struct record_block *b = shared_own(&threads.blocks); b; b = b->older)
		for (size_t i = 0; i < RECORDS_AT_ONCE; i++)
			forget_in_child((void *)((char *)b->first + i * RECORD_BYTES));
}

/* The same for records in use only: pages that are not written need not be copied. */
static FORKED_CODE void gather_used_records(void)
{
	for (int i = 0; i < SLOTS; i++)
		for (struct thread *t = threads.slot[i], *next; t; t = next) {
			next = t->next;
			forget_in_child(t);
		}
}

/* The thread's wait goes on if it forked in a handler. */
static FORKED_CODE void keep_self_alone(void)
{
	struct thread *mine = self.thread;
	for (int i = 0; i < SLOTS; i++)
		if (threads.slot[i])
			threads.slot[i] = NULL;
	shared_set_own(&threads.entered, mine != NULL);
	if (!mine)
		return;
	shared_set_own(&mine->tid, house_pid());
	mine->site = NULL;
	shared_set_own(&mine->handle, 0);
	mine->next = NULL;
	threads.slot[(unsigned)house_pid() % SLOTS] = mine;
}

/* The thread that forked keeps its record, under its new tid. If a handler forked that had interrupted code in here,
 * that code goes on: then the records stay as they are, and later turn out to be of ended threads. */
FORKED_CODE void threads_fork_child(void)
{
	shared_set_own(&threads.sweep_at, SWEEP_FROM); /* another thread may have been sweeping */
	if (lock_is_of_who_forked(&threads.lock)) {
		self.thread = NULL;
		return;
	}
	if (shared_own(&threads.lock.word))
		gather_all_records();
	else
		gather_used_records();
	keep_self_alone();
}
