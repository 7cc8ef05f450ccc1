/* threads.c - count thread creations by stack, and keep a record of every living thread.
 *
 * Runs in: app's thread inside pthread_create, new threads, a thread's first wait; snapshot_threads and the look-ups in
 * the listener.
 * So: no allocation but the arena's; errno preserved.
 * Shared: everything here, under threads.lock (rank THREADS), but for the list of sites, which the listener
 * reads without it (linked with release stores, never freed; counts are atomic), and for what a thread
 * writes in its own record (waits.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads.h"

#include "shim/contended.h"
#include "shim/cpu.h"
#include "shim/init.h"
#include "shim/layout.h"
#include "shim/losses.h"
#include "shim/os.h"
#include "shim/sampler.h"
#include "shim/sync.h"
#include "shim/tasks.h"
#include "shim/trace.h"

enum {
	SLOTS = 256,
	SWEEP_FROM = 256,
	CACHE_LINE = 64, /* records of two threads share none */
	RECORDS_AT_ONCE = 16,
};

struct thread_site {
	struct thread_site *older;
	const struct stack *stack;
	uint64_t count; /* atomic */
};

static struct {
	struct lock lock;
	struct thread_site *newest; /* atomic */
	struct thread_start *spare_starts;
	struct thread *slot[SLOTS]; /* by tid */
	struct thread *spare;
	size_t entered;  /* entries in the slots */
	size_t sweep_at; /* look for ended threads when there are so many */
	int pid;         /* of the process that the records are of */
} threads FORKED = {.sweep_at = SWEEP_FROM};

static struct thread_site *site_of_locked(struct stack *s)
{
	if (s->site)
		return s->site;
	struct thread_site *site = arena_alloc(sizeof *site);
	if (!site)
		return NULL;
	site->stack = s;
	site->older = threads.newest;
	s->site = site;
	__atomic_store_n(&threads.newest, site, __ATOMIC_RELEASE);
	return site;
}

static struct thread_start *take_start_locked(void)
{
	struct thread_start *t = threads.spare_starts;
	if (!t)
		return arena_alloc(sizeof *t);
	threads.spare_starts = t->next;
	return t;
}

struct thread_start *threads_prepare(struct stack *stack, void *(*routine)(void *), void *arg)
{
	lock_take(&threads.lock);
	struct thread_site *site = stack ? site_of_locked(stack) : NULL;
	struct thread_start *t = site ? take_start_locked() : NULL;
	lock_release(&threads.lock);
	if (t)
		*t = (struct thread_start){.routine = routine, .arg = arg, .site = site};
	else
		losses_count(thread_no_memory);
	return t;
}

void threads_cancel(struct thread_start *t)
{
	lock_take(&threads.lock);
	t->next = threads.spare_starts;
	threads.spare_starts = t;
	lock_release(&threads.lock);
}

void threads_count(struct thread_site *site)
{
	__atomic_fetch_add(&site->count, 1, __ATOMIC_RELAXED);
}

static bool has_ended(int pid, int tid)
{
	return os_call(SYS_tgkill, pid, tid, 0) == -ESRCH;
}

static void spare_locked(struct thread *t)
{
	cpu_forget(t);
	contended_forget(t);
	trace_forget(t);
	t->next = threads.spare;
	threads.spare = t;
}

/* Threads don't tell when they end (they may end in many ways); a tid that is no more is found out here, at
 * a cost that is spread over the births since the last time. */
static void sweep_locked(void)
{
	int pid = os_pid();
	for (int i = 0; i < SLOTS; i++) {
		struct thread **at = &threads.slot[i];
		while (*at) {
			struct thread *t = *at;
			if (!has_ended(pid, t->tid)) {
				at = &t->next;
				continue;
			}
			*at = t->next;
			spare_locked(t);
			threads.entered--;
		}
	}
	threads.sweep_at = threads.entered * 2 > SWEEP_FROM ? threads.entered * 2 : SWEEP_FROM;
}

static struct thread *find_locked(int tid)
{
	struct thread *t = threads.slot[(unsigned)tid % SLOTS];
	while (t && t->tid != tid)
		t = t->next;
	return t;
}

/* A record that was never used. */
static struct thread *make_locked(void)
{
	enum { EACH = (sizeof(struct thread) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE };
	char *block = arena_alloc(RECORDS_AT_ONCE * EACH + CACHE_LINE);
	if (!block)
		return NULL;
	block += -(uintptr_t)block % CACHE_LINE;
	for (int i = 1; i < RECORDS_AT_ONCE; i++) {
		struct thread *t = (void *)(block + i * EACH);
		t->next = threads.spare;
		threads.spare = t;
	}
	return (void *)block;
}

static struct thread *take_locked(void)
{
	if (threads.entered >= threads.sweep_at)
		sweep_locked();
	struct thread *t = threads.spare;
	if (!t)
		return make_locked();
	threads.spare = t->next;
	return t;
}

/* begins: a thread with this tid begins now, so a record of the same number is that of a thread that ended: the kernel
 * uses tids again. */
static struct thread *enter_locked(int tid, bool begins)
{
	struct thread *t = find_locked(tid);
	if (t && !begins)
		return t;
	if (t) {
		cpu_forget(t);
		contended_forget(t);
		trace_forget(t);
	} else {
		t = take_locked();
		if (!t)
			return NULL;
		t->next = threads.slot[(unsigned)tid % SLOTS];
		threads.slot[(unsigned)tid % SLOTS] = t;
		threads.entered++;
	}
	t->tid = tid;
	t->site = NULL;
	t->handle = 0;
	waits_reset(&t->wait);
	return t;
}

void threads_start(void)
{
	threads.pid = os_pid();
}

struct thread *threads_enter(int tid)
{
	lock_take(&threads.lock);
	struct thread *t = enter_locked(tid, false);
	lock_release(&threads.lock);
	return t;
}

/* A thread that this library did not see begin. A child of vfork has its parent's memory, and a number that is none of this
 * process's. */
struct thread *threads_enter_busy(void)
{
	if (threads.pid != os_pid())
		return NULL;
	return sampler_thread.thread = threads_enter(os_tid());
}

struct thread *threads_enter_self(void)
{
	uint64_t mask;
	if (!init_is_on() || !sampler_hold_alone(&mask))
		return NULL;
	struct thread *t = threads_enter_busy();
	sampler_release_alone(&mask);
	return t;
}

const struct stack *threads_site_stack(const struct thread_site *site)
{
	return site ? site->stack : NULL;
}

struct thread *threads_begin(struct thread_start *t)
{
	lock_take(&threads.lock);
	struct thread *self = enter_locked(os_tid(), true);
	if (self) {
		self->site = t->site;
		self->handle = t->handle;
	}
	t->next = threads.spare_starts;
	threads.spare_starts = t;
	lock_release(&threads.lock);
	return sampler_thread.thread = self;
}

void threads_each(void (*each)(struct thread *t, void *arg), void *arg)
{
	lock_take(&threads.lock);
	for (int i = 0; i < SLOTS; i++)
		for (struct thread *t = threads.slot[i]; t; t = t->next)
			each(t, arg);
	lock_release(&threads.lock);
}

struct thread_facts threads_facts(int tid)
{
	lock_take(&threads.lock);
	struct thread *t = find_locked(tid);
	struct thread_facts f = {t, t && t->site ? t->site->stack : NULL};
	lock_release(&threads.lock);
	return f;
}

int threads_tid_of(uintptr_t handle)
{
	int tid = 0;
	lock_take(&threads.lock);
	for (int i = 0; handle && i < SLOTS; i++)
		for (const struct thread *t = threads.slot[i]; t; t = t->next)
			if (t->handle == handle && !has_ended(threads.pid, t->tid))
				tid = t->tid;
	lock_release(&threads.lock);
	return tid;
}

/* The snapshot: which threads live is read from the table, their names from /proc. */

struct living {
	int tid;
	const struct thread_site *site;
	const char *name; /* NULL: it ended meanwhile */
};

static struct living *copy_living(struct region *r, size_t *count)
{
	for (size_t cap = 64;; cap *= 2) {
		struct living *l = region_alloc(r, cap * sizeof *l);
		if (!l)
			return NULL;
		size_t n = 0;
		lock_take(&threads.lock);
		bool fits = threads.entered <= cap;
		for (int i = 0; fits && i < SLOTS; i++)
			for (const struct thread *t = threads.slot[i]; t; t = t->next)
				l[n++] = (struct living){.tid = t->tid, .site = t->site}; /* NULL of one that was not created */
		lock_release(&threads.lock);
		*count = n;
		if (fits)
			return l;
	}
}

static void add_row(struct thread_snapshot *s, const struct thread_site *site, const char *name, uint64_t count)
{
	if (count)
		s->rows[s->count++] = (struct thread_row){.stack = site->stack, .name = name, .count = count};
}

/* One row for each name among the living threads of a site, one without a name for the rest. */
static void add_site(struct thread_snapshot *s, const struct thread_site *site, struct living *l, size_t living)
{
	uint64_t left = __atomic_load_n(&site->count, __ATOMIC_RELAXED);
	for (size_t i = 0; i < living && left; i++) {
		if (l[i].site != site || !l[i].name)
			continue;
		const char *name = l[i].name;
		uint64_t same = 0;
		for (size_t k = i; k < living && same < left; k++)
			if (l[k].site == site && l[k].name && strcmp(l[k].name, name) == 0) {
				l[k].name = NULL;
				same++;
			}
		add_row(s, site, name, same);
		left -= same;
	}
	add_row(s, site, NULL, left);
}

int snapshot_threads(struct region *r, struct thread_snapshot *s)
{
	size_t living = 0, sites = 0;
	struct living *l = copy_living(r, &living);
	if (!l)
		return -ENOMEM;
	for (size_t i = 0; i < living; i++)
		l[i].name = tasks_name(r, l[i].tid);
	const struct thread_site *newest = __atomic_load_n(&threads.newest, __ATOMIC_ACQUIRE);
	for (const struct thread_site *t = newest; t; t = t->older)
		sites++;
	*s = (struct thread_snapshot){
	    .time_ns = os_clock_ns(CLOCK_REALTIME),
	    .rows = region_alloc(r, (sites + living + 1) * sizeof *s->rows),
	};
	if (!s->rows)
		return -ENOMEM;
	for (const struct thread_site *t = newest; t; t = t->older)
		add_site(s, t, l, living);
	return 0;
}

static uint64_t count_created(void)
{
	uint64_t n = 0;
	for (const struct thread_site *t = __atomic_load_n(&threads.newest, __ATOMIC_ACQUIRE); t; t = t->older)
		n += __atomic_load_n(&t->count, __ATOMIC_RELAXED);
	return n;
}

struct snapshot_counts snapshot_counts(void)
{
	uint64_t contention[CONTENTION_KINDS];
	struct snapshot_counts c = {.threadcreate = count_created(), .goroutine = tasks_count()};
	snapshot_count_contention(contention);
	c.block = contention[CONTENTION_BLOCK];
	c.mutex = contention[CONTENTION_MUTEX];
	snapshot_count_heap(&c.heap, &c.allocs);
	return c;
}

FORKED_CODE void threads_fork_prepare(void)
{
	lock_take(&threads.lock);
}

FORKED_CODE void threads_fork_parent(void)
{
	lock_release(&threads.lock);
}

/* The child has created no thread: its counts begin at 0. The one that forked makes itself known again at its next wait. */
FORKED_CODE void threads_fork_child(void)
{
	for (struct thread_site *t = threads.newest; t; t = t->older)
		t->count = 0;
	for (int i = 0; i < SLOTS; i++) {
		struct thread *t = threads.slot[i];
		threads.slot[i] = NULL;
		while (t) {
			struct thread *next = t->next;
			t->timer = THREAD_NO_TIMER; /* timers are not inherited */
			t->waits_for = NULL; /* its queue is gone */
			t->is_tracing = false;
			t->next = threads.spare;
			threads.spare = t;
			t = next;
		}
	}
	threads.entered = 0;
	threads.pid = os_pid();
	sampler_thread.thread = NULL;
	lock_release(&threads.lock);
}
