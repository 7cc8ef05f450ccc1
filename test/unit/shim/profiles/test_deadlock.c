/* test_deadlock.c - owners of locks, rings of real threads, and what looks like a ring and is none.
 *
 * Runs in: its own process; each test in a child, for threads in a deadlock never end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/deadlock.c shim/waits/waits.c shim/threads/threads.c shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/threads/tasks.c shim/base/powers.c shim/profiles/sampling.c shim/libc/clock.c shim/libc/real.c
 * links: shim/base/losses.c shim/base/text.c
 * links: shim/stack/stacks.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <threads.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/profiles/cpu.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"
#include "shim/profiles/deadlock.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#define NOINLINE __attribute__((noinline, noclone))

const char *__tsan_default_options(void);
const char *__tsan_default_options(void) /* deadlocks are what is wanted here */
{
	return "detect_deadlocks=0 report_mutex_bugs=0 report_thread_leaks=0";
}

shared_u32 signals_users; /* signals.c's */
static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	threads_start();
	clock_start();
}

/* What the hooks do, and the beginning of a thread. */
#define WAIT_IN(call, object) \
	struct wait_scope scope; \
	if (!threads_self()) \
		self.thread = threads_enter(os_tid()); \
	waits_enter(&scope, WAIT_##call, (uintptr_t)(object), UNWIND_CALLER(), clock_ns(CLOCK_MONOTONIC_COARSE))

static NOINLINE int lock(pthread_mutex_t *m)
{
	WAIT_IN(pthread_mutex_lock, m);
	int r = pthread_mutex_lock(m);
	waits_leave(&scope);
	return r;
}

static NOINLINE int lock_for_a_minute(pthread_mutex_t *m)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	WAIT_IN(pthread_mutex_timedlock, m);
	int r = pthread_mutex_timedlock(m, &until);
	waits_leave(&scope);
	return r;
}

static NOINLINE int lock_for_writing(pthread_rwlock_t *l)
{
	WAIT_IN(pthread_rwlock_wrlock, l);
	int r = pthread_rwlock_wrlock(l);
	waits_leave(&scope);
	return r;
}

/* --- owners ------------------------------------------------------------------------------------- */

static int owner_of(unsigned call, const volatile void *object)
{
	const struct wait w = {.state = SHARED_INIT(1 << 8 | call), .object = (uintptr_t)object};
	return deadlock_owner(&w);
}

static void owners_of_mutexes(void)
{
	static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
	                            PTHREAD_MUTEX_ADAPTIVE_NP};
	for (size_t i = 0; i < COUNT(types); i++)
		for (int robust = 0; robust < 2; robust++)
			for (int pi = 0; pi < 2; pi++)
				for (int shared = 0; shared < 2; shared++) {
					pthread_mutexattr_t attr;
					pthread_mutex_t m;
					pthread_mutexattr_init(&attr);
					pthread_mutexattr_settype(&attr, types[i]);
					pthread_mutexattr_setrobust(&attr, robust ? PTHREAD_MUTEX_ROBUST
					                                          : PTHREAD_MUTEX_STALLED);
					pthread_mutexattr_setprotocol(&attr,
					                              pi ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
					pthread_mutexattr_setpshared(&attr, shared ? PTHREAD_PROCESS_SHARED
					                                           : PTHREAD_PROCESS_PRIVATE);
					if (pthread_mutex_init(&m, &attr) != 0)
						continue;
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0);
					CHECK(pthread_mutex_lock(&m) == 0);
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_mutex_timedlock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_mutex_clocklock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_cond_wait, &m) == -1);
					CHECK(pthread_mutex_unlock(&m) == 0);
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0);
					pthread_mutex_destroy(&m);
				}
	mtx_t m;
	mtx_init(&m, mtx_plain);
	mtx_lock(&m);
	CHECK(owner_of(WAIT_mtx_lock, &m) == os_tid() && owner_of(WAIT_mtx_timedlock, &m) == os_tid());
	mtx_unlock(&m);
}

static void test_a_mutex_of_any_kind_knows_its_owner(void **state)
{
	(void)state;
	in_child_after(child_begin, owners_of_mutexes);
}

static void owners_of_rwlocks(void)
{
	static const unsigned calls[] = {WAIT_pthread_rwlock_rdlock,      WAIT_pthread_rwlock_timedrdlock,
	                                 WAIT_pthread_rwlock_clockrdlock, WAIT_pthread_rwlock_wrlock,
	                                 WAIT_pthread_rwlock_timedwrlock, WAIT_pthread_rwlock_clockwrlock};
	pthread_rwlock_t l;
	pthread_rwlock_init(&l, NULL);
	for (size_t i = 0; i < COUNT(calls); i++) {
		CHECK(owner_of(calls[i], &l) == 0);
		pthread_rwlock_wrlock(&l);
		CHECK(owner_of(calls[i], &l) == os_tid());
		pthread_rwlock_unlock(&l);
		CHECK(owner_of(calls[i], &l) == 0);
		pthread_rwlock_rdlock(&l);
		CHECK(owner_of(calls[i], &l) == 0); /* readers are not known */
		pthread_rwlock_unlock(&l);
	}
}

static void test_a_read_write_lock_knows_its_writer(void **state)
{
	(void)state;
	in_child_after(child_begin, owners_of_rwlocks);
}

static void *lock_and_die(void *m)
{
	pthread_mutex_lock(m);
	return NULL;
}

/* glibc then keeps INT_MAX there, which is no thread. */
static void inconsistent(void)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t m;
	pthread_t t;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &attr);
	pthread_create(&t, NULL, lock_and_die, &m);
	pthread_join(t, NULL);
	CHECK(pthread_mutex_lock(&m) == EOWNERDEAD);
	CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0 || owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
	pthread_mutex_consistent(&m);
	CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
}

static void test_a_mutex_that_was_inherited_from_the_dead_has_no_made_up_owner(void **state)
{
	(void)state;
	in_child_after(child_begin, inconsistent);
}

static void bad_objects(void)
{
	char *gone = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(gone + 4096, 4096);
	const uintptr_t objects[] = {0,
	                             1,
	                             8,
	                             (uintptr_t)gone + 4096,
	                             (uintptr_t)gone + 4096 - 10,
	                             (uintptr_t)gone + 4096 - 26,
	                             (uintptr_t)gone + 8000,
	                             (uintptr_t)1 << 47,
	                             (uintptr_t)1 << 63,
	                             UINTPTR_MAX,
	                             UINTPTR_MAX - 8,
	                             UINTPTR_MAX - 11};
	memset(gone, 0xff, 4096);
	for (size_t i = 0; i < COUNT(objects); i++) {
		CHECK(owner_of(WAIT_pthread_mutex_lock, (void *)objects[i]) == 0);
		CHECK(owner_of(WAIT_pthread_rwlock_wrlock, (void *)objects[i]) == 0);
	}
	CHECK(owner_of(WAIT_pthread_mutex_lock, gone) == 0); /* a negative number is nobody */
	memset(gone, 0, 4096);
	*(int *)(gone + 8) = 77;
	CHECK(owner_of(WAIT_pthread_mutex_lock, gone) == 77);
	CHECK(owner_of(WAIT_poll, gone) == -1 && owner_of(WAIT_NONE, gone) == -1 &&
	      owner_of(WAIT_CHANGING, gone) == -1);
	char copy[4096], *other = gone;
	CHECK(peek((uintptr_t)other, copy, sizeof copy) && memcmp(copy, other, sizeof copy) == 0);
	CHECK(!peek((uintptr_t)other + 1, copy, sizeof copy)); /* all or nothing */
	CHECK(!peek((uintptr_t)other + 4096, copy, 1));
}

static void test_memory_that_is_no_more_has_no_owner_and_does_no_harm(void **state)
{
	(void)state;
	in_child_after(child_begin, bad_objects);
}

/* A container's filter that knows process_vm_readv as a debugger's tool. */
static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {COUNT(code), code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(CHILD_SKIPPED);
	bad_objects();
}

static void test_the_same_where_a_filter_forbids_the_system_call(void **state)
{
	(void)state;
	in_child_after(child_begin, filtered);
}

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
		cmocka_unit_test(test_a_mutex_of_any_kind_knows_its_owner),
		cmocka_unit_test(test_a_read_write_lock_knows_its_writer),
		cmocka_unit_test(test_a_mutex_that_was_inherited_from_the_dead_has_no_made_up_owner),
		cmocka_unit_test(test_memory_that_is_no_more_has_no_owner_and_does_no_harm),
		cmocka_unit_test(test_the_same_where_a_filter_forbids_the_system_call),
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
