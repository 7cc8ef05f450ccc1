/* test_deadlock.c - rings of real threads, and what looks like a ring and is none.
 *
 * Runs in: its own process; each test in a child, for threads in a deadlock never end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/deadlock.c shim/waits/waits.c shim/threads/threads.c shim/threads/creations.c
 * links: shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/threads/tasks.c shim/base/powers.c shim/profiles/sampling.c shim/libc/clock.c shim/libc/real.c
 * links: shim/base/losses.c shim/base/text.c
 * links: shim/stack/stacks.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#include "test/unit/shim/profiles/deadlock_made.h"

/* --- rings --------------------------------------------------------------------------------------- */

enum { MOST = 8 };
static pthread_mutex_t mutexes[MOST] = {[0 ... MOST - 1] = PTHREAD_MUTEX_INITIALIZER};
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t all_hold;

static struct philosopher {
	int holds, wants; /* mutexes; -1: none */
	bool timed, rwlock;
	int tid; /* atomic */
} table[MOST];

static void *dine(void *arg)
{
	struct philosopher *p = arg;
	char name[16];
	snprintf(name, sizeof name, "ph%d", (int)(p - table));
	prctl(PR_SET_NAME, name);
	if (p->holds >= 0)
		lock(&mutexes[p->holds]);
	if (p->rwlock && p->wants >= 0)
		lock_for_writing(&rwlock);
	__atomic_store_n(&p->tid, os_tid(), __ATOMIC_RELEASE);
	pthread_barrier_wait(&all_hold);
	if (p->wants < 0)
		lock_for_writing(&rwlock);
	else if (p->timed)
		lock_for_a_minute(&mutexes[p->wants]);
	else
		lock(&mutexes[p->wants]);
	return NULL;
}

/* All at the table, and each blocked. */
static void sit_down(int count)
{
	pthread_t t;
	pthread_barrier_init(&all_hold, NULL, (unsigned)count);
	for (int i = 0; i < count; i++)
		CHECK(pthread_create(&t, NULL, dine, &table[i]) == 0);
	for (int i = 0; i < count; i++) {
		int tid, blocked = 0;
		while (!(tid = __atomic_load_n(&table[i].tid, __ATOMIC_ACQUIRE)))
			usleep(1000);
		for (int k = 0; k < 5000 && blocked < 3; k++, usleep(1000)) {
			struct wait w;
			struct thread_facts f = threads_facts(tid);
			struct task task = tasks_look(tid);
			bool waits = f.thread && waits_read(&f.thread->wait, &w) &&
			             waits_call(shared_own(&w.state)) != WAIT_NONE;
			blocked = waits && (task.state == TASK_SLEEPS || task.state == TASK_BLOCKED) ? blocked + 1 : 0;
		}
		CHECK(blocked == 3);
	}
}

static struct told {
	int deadlocks, stalled;
	char last[2048];
} told;

static void tell(void *arg, const char *line)
{
	struct told *t = arg;
	t->deadlocks += strncmp(line, "DEADLOCK: ", 10) == 0;
	t->stalled += strncmp(line, "STALLED: ", 9) == 0;
	snprintf(t->last, sizeof t->last, "%s", line);
}

static struct told ask(void)
{
	struct region r = {0};
	memset(&told, 0, sizeof told);
	snapshot_stuck(&r, tell, &told);
	region_release(&r);
	return told;
}

static struct region region; /* of children: never given back */

/* As the dump asks. */
static size_t find(int count, size_t ring[MOST])
{
	struct lock_wait waits[MOST];
	for (int i = 0; i < count; i++) {
		struct thread_facts f = threads_facts(table[i].tid);
		waits[i].tid = table[i].tid;
		waits[i].source = &f.thread->wait;
		CHECK(waits_read(&f.thread->wait, &waits[i].wait));
		waits[i].owner_tid = deadlock_owner(&waits[i].wait);
		CHECK(waits[i].owner_tid >= 0);
	}
	return deadlock_find_rings(&region, waits, (size_t)count, ring);
}

static bool mentions(const char *line, int i, int times)
{
	char text[64];
	snprintf(text, sizeof text, "thread %d (ph%d)", table[i].tid, i);
	for (; times && (line = strstr(line, text)); times--)
		line++;
	return times == 0;
}

static void ring_of_three(void)
{
	table[0] = (struct philosopher){.holds = 0, .wants = 1};
	table[1] = (struct philosopher){.holds = 1, .wants = 2};
	table[2] = (struct philosopher){.holds = 2, .wants = 0};
	table[3] = (struct philosopher){.holds = 3, .wants = 1};  /* waits for one in the ring, is in none */
	table[4] = (struct philosopher){.holds = -1, .wants = 3}; /* and for that one */
	sit_down(5);
	size_t ring[MOST];
	CHECK(find(5, ring) == 1);
	CHECK(ring[0] == 1 && ring[1] == 1 && ring[2] == 1 && ring[3] == 0 && ring[4] == 0);
	struct told t = ask();
	CHECK(t.deadlocks == 1 && t.stalled == 0);
	for (int i = 0; i < 3; i++)
		CHECK(mentions(t.last, i, 1));
	CHECK(!mentions(t.last, 3, 1) && !mentions(t.last, 4, 1));
	CHECK(mentions(t.last, 0, 2) || mentions(t.last, 1, 2) || mentions(t.last, 2, 2)); /* it closes */
	CHECK(strstr(t.last, " waits in pthread_mutex_lock 0x") && strstr(t.last, ", which waits in "));
}

static void test_three_threads_in_a_ring_are_found_and_those_behind_them_are_not(void **state)
{
	(void)state;
	in_child_after(child_begin, ring_of_three);
}

static void two_rings(void)
{
	table[0] = (struct philosopher){.holds = 0, .wants = 1};
	table[1] = (struct philosopher){.holds = 2, .wants = 3};
	table[2] = (struct philosopher){.holds = 1, .wants = 0};
	table[3] = (struct philosopher){.holds = 3, .wants = 2};
	sit_down(4);
	size_t ring[MOST];
	CHECK(find(4, ring) == 2);
	CHECK(ring[0] == ring[2] && ring[1] == ring[3] && ring[0] + ring[1] == 3);
	CHECK(ask().deadlocks == 2);
}

static void test_two_rings_are_told_apart(void **state)
{
	(void)state;
	in_child_after(child_begin, two_rings);
}

static void ring_with_a_rwlock(void)
{
	table[0] = (struct philosopher){.holds = -1, .wants = 1, .rwlock = true};
	table[1] = (struct philosopher){.holds = 1, .wants = -1};
	sit_down(2);
	size_t ring[MOST];
	CHECK(find(2, ring) == 1 && ring[0] == 1 && ring[1] == 1);
	CHECK(strstr(ask().last, "pthread_rwlock_wrlock 0x"));
}

static void test_a_writer_may_be_part_of_a_ring(void **state)
{
	(void)state;
	in_child_after(child_begin, ring_with_a_rwlock);
}

static void self_deadlock(void)
{
	table[0] = (struct philosopher){.holds = 0, .wants = 0};
	sit_down(1);
	size_t ring[MOST];
	CHECK(find(1, ring) == 1 && ring[0] == 1);
	struct told t = ask();
	CHECK(t.deadlocks == 1 && mentions(t.last, 0, 2));
}

static void test_a_thread_that_waits_for_itself_is_a_ring(void **state)
{
	(void)state;
	in_child_after(child_begin, self_deadlock);
}

static void timed_ring(void)
{
	table[0] = (struct philosopher){.holds = 0, .wants = 1};
	table[1] = (struct philosopher){.holds = 1, .wants = 2};
	table[2] = (struct philosopher){.holds = 2, .wants = 0, .timed = true};
	sit_down(3);
	size_t ring[MOST];
	CHECK(find(3, ring) == 0 && !ring[0] && !ring[1] && !ring[2]);
	struct told t = ask();
	CHECK(t.deadlocks == 0 && t.stalled == 0);
}

static void test_a_ring_that_opens_by_itself_is_none(void **state)
{
	(void)state;
	in_child_after(child_begin, timed_ring);
}

/* A ring of which one thread has moved on since it was looked at. */
/* In time that grows as their number does, or this would take days. */
static void long_chains(void)
{
	enum { N = 1000000 };
	struct lock_wait *waits = calloc(N, sizeof *waits);
	size_t *ring = calloc(N, sizeof *ring);
	arena_set_limit(1u << 30);
	CHECK(waits && ring);
	for (int i = 0; i < N; i++) {
		waits[i] = (struct lock_wait){.tid = i + 1, .owner_tid = i + 2};
		shared_set_own(&waits[i].wait.state, WAIT_pthread_mutex_lock);
	}
	CHECK(deadlock_find_rings(&region, waits, N, ring) == 0); /* the last one waits for who is not there */
	for (int i = 0; i < N; i++)                               /* many wait for one */
		waits[i].owner_tid = N;
	waits[N - 1].owner_tid = 0;
	CHECK(deadlock_find_rings(&region, waits, N, ring) == 0);
	for (int i = 0; i < N; i++)
		CHECK(!ring[i]);
}

static void test_a_million_waits_are_followed(void **state)
{
	(void)state;
	in_child_after(child_begin, long_chains);
}

static void moved_on(void)
{
	table[0] = (struct philosopher){.holds = 0, .wants = 1};
	table[1] = (struct philosopher){.holds = 1, .wants = 0};
	sit_down(2);
	struct lock_wait waits[2];
	size_t ring[2];
	for (int i = 0; i < 2; i++) {
		struct thread_facts f = threads_facts(table[i].tid);
		waits[i] =
			(struct lock_wait){.tid = table[i].tid, .owner_tid = table[!i].tid, .source = &f.thread->wait};
		CHECK(waits_read(&f.thread->wait, &waits[i].wait));
	}
	CHECK(deadlock_find_rings(&region, waits, 2, ring) == 1);
	shared_set_own(&waits[1].wait.state,
	               shared_own(&waits[1].wait.state) + (1 << 8)); /* an earlier or later wait of the same kind */
	CHECK(deadlock_find_rings(&region, waits, 2, ring) == 0);
	shared_set_own(&waits[1].wait.state, shared_own(&waits[1].wait.state) - (1 << 8));
	waits[1].owner_tid = os_tid(); /* another owner */
	CHECK(deadlock_find_rings(&region, waits, 2, ring) == 0);
	waits[1].owner_tid = 0; /* nobody */
	CHECK(deadlock_find_rings(&region, waits, 2, ring) == 0);
	waits[1].owner_tid = table[0].tid;
	waits[0].wait.object = (uintptr_t)&mutexes[5]; /* which it does not own: it was read in between */
	CHECK(deadlock_find_rings(&region, waits, 2, ring) == 0);
	CHECK(deadlock_find_rings(&region, waits, 0, ring) == 0);
}

static void test_a_ring_is_only_believed_if_nobody_in_it_moved(void **state)
{
	(void)state;
	in_child_after(child_begin, moved_on);
}

static uint32_t enough; /* atomic */
static uint64_t rounds; /* atomic */
static void *contend(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		lock(&mutexes[0]); /* all in the same order, and slowly */
		lock(&mutexes[1]);
		if (__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED) % 3 == 0)
			usleep(50);
		pthread_mutex_unlock(&mutexes[1]);
		lock(&mutexes[2]);
		pthread_mutex_unlock(&mutexes[0]);
		sched_yield();
		pthread_mutex_unlock(&mutexes[2]);
	}
	return NULL;
}

static void contention(void)
{
	enum { THREADS = 6 };
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, contend, NULL) == 0);
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + 2000000000u;
	int asked = 0;
	for (; os_clock_ns(CLOCK_MONOTONIC) < until || asked <= 10 || __atomic_load_n(&rounds, __ATOMIC_RELAXED) <= 100;
	     asked++) {
		struct told now = ask();
		CHECK(now.deadlocks == 0 && now.stalled == 0);
	}
	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(ask().last[0] == '\0');
}

static void test_threads_that_wait_for_each_other_in_order_are_never_called_deadlocked(void **state)
{
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* waits are copied and checked afterwards: a race by its rules */
#endif
	in_child_after(child_begin, contention);
}

static void stalled(void)
{
	table[0] = (struct philosopher){.holds = 1, .wants = 0};
	lock(&mutexes[0]);
	sit_down(1);
	CHECK(ask().stalled == 0);
	struct thread_facts f = threads_facts(table[0].tid);
	f.thread->wait.since_ns -= 65000000000u; /* as if */
	struct told t = ask();
	CHECK(t.stalled == 1 && t.deadlocks == 0);
	char want[256];
	snprintf(want, sizeof want,
	         "STALLED: thread %d (ph0) has been waiting for 65 seconds in pthread_mutex_lock 0x%lx, held by thread "
	         "%d (",
	         table[0].tid, (long)&mutexes[0], os_tid());
	CHECK(strncmp(t.last, want, strlen(want)) == 0);
	f.thread->wait.since_ns = 0; /* not known */
	CHECK(ask().stalled == 0);
}

static void test_a_thread_that_has_waited_a_minute_for_a_lock_is_told(void **state)
{
	(void)state;
	in_child_after(child_begin, stalled);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_three_threads_in_a_ring_are_found_and_those_behind_them_are_not),
		cmocka_unit_test(test_two_rings_are_told_apart),
		cmocka_unit_test(test_a_writer_may_be_part_of_a_ring),
		cmocka_unit_test(test_a_thread_that_waits_for_itself_is_a_ring),
		cmocka_unit_test(test_a_ring_that_opens_by_itself_is_none),
		cmocka_unit_test(test_a_million_waits_are_followed),
		cmocka_unit_test(test_a_ring_is_only_believed_if_nobody_in_it_moved),
		cmocka_unit_test(test_threads_that_wait_for_each_other_in_order_are_never_called_deadlocked),
		cmocka_unit_test(test_a_thread_that_has_waited_a_minute_for_a_lock_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
