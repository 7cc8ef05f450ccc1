/* threads.c - count thread creations by stack, and remember which living thread came from where.
 *
 * Runs in: app's thread inside pthread_create, new threads; snapshot_threads in the listener.
 * So: no allocation but the arena's; errno preserved.
 * Shared: everything here, under threads.lock (rank THREADS), but for the list of sites, which the listener
 * reads without it (linked with release stores, never freed; counts are atomic).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads.h"

#include "shim/layout.h"
#include "shim/losses.h"
#include "shim/os.h"
#include "shim/sync.h"
#include "shim/text.h"

enum { SLOTS = 256, SWEEP_FROM = 256 };

struct thread_site {
	struct thread_site *older;
	const struct stack *stack;
	uint64_t count; /* atomic */
};

struct thread {
	struct thread *next;
	int tid;
	struct thread_site *site;
};

static struct {
	struct lock lock;
	struct thread_site *newest; /* atomic */
	struct thread_start *spare_starts;
	struct thread *slot[SLOTS]; /* by tid */
	struct thread *spare;
	size_t entered;  /* entries in the slots */
	size_t sweep_at; /* look for ended threads when there are so many */
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
			t->next = threads.spare;
			threads.spare = t;
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

static void enter_locked(int tid, struct thread_site *site)
{
	struct thread *t = find_locked(tid); /* of a thread that ended: the kernel uses tids again */
	if (t) {
		t->site = site;
		return;
	}
	if (threads.entered >= threads.sweep_at)
		sweep_locked();
	t = threads.spare;
	if (t)
		threads.spare = t->next;
	else
		t = arena_alloc(sizeof *t);
	if (!t)
		return; /* its name stays unknown; it is counted */
	*t = (struct thread){.next = threads.slot[(unsigned)tid % SLOTS], .tid = tid, .site = site};
	threads.slot[(unsigned)tid % SLOTS] = t;
	threads.entered++;
}

void threads_begin(struct thread_start *t)
{
	int tid = os_tid();
	lock_take(&threads.lock);
	enter_locked(tid, t->site);
	t->next = threads.spare_starts;
	threads.spare_starts = t;
	lock_release(&threads.lock);
}

/* The snapshot: which threads live is read from the table, their names from /proc. */

struct living {
	int tid;
	const struct thread_site *site;
	const char *name; /* NULL: it ended meanwhile */
};

static const char *read_name(struct region *r, int tid)
{
	char path[64], name[32];
	struct line l = LINE(path);
	line_str(&l, "/proc/self/task/");
	line_dec(&l, tid);
	line_str(&l, "/comm");
	int fd = (int)os_open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	long n = os_read(fd, name, sizeof name);
	os_close(fd);
	if (n > 0 && name[n - 1] == '\n')
		n--;
	char *copy = n > 0 ? region_alloc(r, (size_t)n + 1) : NULL;
	return copy ? memcpy(copy, name, (size_t)n) : NULL;
}

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
				l[n++] = (struct living){.tid = t->tid, .site = t->site};
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
		l[i].name = read_name(r, l[i].tid);
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
	struct snapshot_counts c = {.threadcreate = count_created()};
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

/* The child has created no thread: its counts begin at 0. */
FORKED_CODE void threads_fork_child(void)
{
	for (struct thread_site *t = threads.newest; t; t = t->older)
		t->count = 0;
	for (int i = 0; i < SLOTS; i++) {
		struct thread *t = threads.slot[i];
		threads.slot[i] = NULL;
		while (t) {
			struct thread *next = t->next;
			t->next = threads.spare;
			threads.spare = t;
			t = next;
		}
	}
	threads.entered = 0;
	lock_release(&threads.lock);
}
