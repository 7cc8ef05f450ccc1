/* test_threads.c - creations counted by stack, living threads by name.
 *
 * Runs in: its own process, with real threads that enter themselves as the pthread_create hook makes them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/threads/threads.c shim/threads/creations.c shim/profiles/counts.c shim/stack/stacks.c shim/base/losses.c
 * links: shim/base/text.c
 * links: shim/threads/handles.c
 * links: shim/base/arena.c shim/base/sync.c shim/threads/tasks.c shim/base/powers.c shim/waits/waits.c
 * links: shim/profiles/sampling.c shim/profiles/threadcreate.c
 * links: shim/libc/real.c shim/libc/clock.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/places.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/base/arena.h"
#include "shim/waits/queues.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/waits/signals.h"
#include "shim/stack/stacks.h"
#include "shim/threads/creations.h"
#include "shim/threads/threads.h"
#include "shim/threads/timers.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/child.h"

void snapshot_count_contention(uint64_t counts[CONTENTION_KINDS]) /* delays.c's */
{
	counts[CONTENTION_BLOCK] = 11;
	counts[CONTENTION_MUTEX] = 13;
}

void snapshot_count_heap(uint64_t *in_use, uint64_t *all) /* heap.c's */
{
	*in_use = 3;
	*all = 7;
}

/* Stands for timers.c, which asks the kernel: a lock of threads.c that is held meanwhile is waited for, and the alarm
 * ends the test. */
static void no_lock_is_held(void)
{
	alarm(60);
	threads_facts(1);
}

bool timers_has_ended(int pid, int tid)
{
	no_lock_is_held();
	return syscall(SYS_tgkill, pid, tid, 0) < 0;
}

static int dropped, dropped_sum; /* atomic */
void timers_delete(int timer)
{
	no_lock_is_held();
	__atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&dropped_sum, timer, __ATOMIC_RELAXED);
}

static int forgotten; /* atomic */
static void count_forgotten(struct thread *t)
{
	(void)t;
	__atomic_fetch_add(&forgotten, 1, __ATOMIC_RELAXED);
}

static struct stack *stack_of(uintptr_t site)
{
	uintptr_t pc[2] = {0x400000 + site, 0x500000};
	return stacks_intern(pc, 2);
}

struct task {
	const char *name; /* NULL: it keeps its parent's */
	sem_t *begun, *go;
	int *timer; /* the number, plus one, of the one that it is given, next; NULL: none */
};

static void *task_main(void *arg)
{
	struct thread_start *t = arg;
	struct task *task = t->arg;
	struct thread *mine = threads_begin(t);
	if (task->timer)
		shared_store_release(&mine->timer, (uint32_t)__atomic_fetch_add(task->timer, 1, __ATOMIC_RELAXED));
	if (task->name)
		prctl(PR_SET_NAME, task->name);
	if (task->begun)
		sem_post(task->begun);
	if (task->go)
		while (sem_wait(task->go) != 0)
			continue;
	return NULL;
}

/* What the hook does. */
static pthread_t create(uintptr_t site, struct task *task)
{
	pthread_t thread;
	struct thread_start *t = threads_prepare(stack_of(site), NULL, task);
	CHECK(t);
	struct thread_site *at = t->site;
	CHECK(pthread_create(&thread, NULL, task_main, t) == 0);
	threads_count(at);
	return thread;
}

static uint64_t count_rows(const struct thread_snapshot *s, uintptr_t site, const char *name)
{
	uint64_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		const char *has = s->rows[i].name;
		bool same = has && name ? strcmp(has, name) == 0 : !has && !name;
		if (s->rows[i].stack->pc[0] == 0x400000 + site && same)
			n += s->rows[i].count;
	}
	return n;
}

static struct thread_snapshot snap(struct region *r)
{
	struct thread_snapshot s;
	CHECK(snapshot_threads(r, &s) == 0);
	return s;
}

static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	threads_on_reuse(count_forgotten);
}

static void living_and_dead(void)
{
	sem_t begun, go;
	sem_init(&begun, 0, 0);
	sem_init(&go, 0, 0);
	struct task red = {"red", &begun, &go, NULL}, blue = {"blue", &begun, &go, NULL},
		    gone = {"gone", NULL, NULL, NULL};
	pthread_t t[5];
	t[0] = create(1, &red);
	t[1] = create(1, &blue);
	t[2] = create(1, &red);
	t[3] = create(2, &blue);
	t[4] = create(1, &gone);
	pthread_join(t[4], NULL);
	for (int i = 0; i < 4; i++)
		while (sem_wait(&begun) != 0)
			continue;
	struct region r = {0};
	struct thread_snapshot s = snap(&r);
	CHECK(count_rows(&s, 1, "red") == 2);
	CHECK(count_rows(&s, 1, "blue") == 1);
	CHECK(count_rows(&s, 1, NULL) == 1);
	CHECK(count_rows(&s, 2, "blue") == 1);
	CHECK(count_rows(&s, 2, NULL) == 0);
	CHECK(s.count == 4);
	CHECK(s.time_ns > 1600000000ull * 1000000000);
	for (size_t i = 1; i < s.count; i++) /* rows of a stack follow each other: rows.c relies on it */
		for (size_t k = 0; k + 1 < i; k++)
			CHECK(s.rows[i].stack != s.rows[k].stack || s.rows[i].stack == s.rows[i - 1].stack);
	struct snapshot_counts c = snapshot_counts();
	CHECK(c.threadcreate == 5 && c.heap == 3 && c.allocs == 7 && c.block == 11 && c.mutex == 13);
	for (int i = 0; i < 4; i++)
		sem_post(&go);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	s = snap(&r);
	CHECK(count_rows(&s, 1, NULL) == 4 && count_rows(&s, 2, NULL) == 1 && s.count == 2);
	region_release(&r);
}

static void test_rows_are_by_stack_and_by_name_of_the_living(void **state)
{
	(void)state;
	in_child_after(child_begin, living_and_dead);
}

static void failed_creation(void)
{
	struct region r = {0};
	struct task task = {0};
	struct thread_start *t = threads_prepare(stack_of(1), NULL, &task);
	CHECK(t && t->site && t->arg == &task);
	threads_cancel(t);
	struct thread_snapshot s = snap(&r);
	CHECK(s.count == 0 && snapshot_counts().threadcreate == 0);
	CHECK(threads_prepare(stack_of(2), NULL, &task) == t); /* the record is used again */
	region_release(&r);
}

static void test_a_creation_that_failed_is_not_counted(void **state)
{
	(void)state;
	in_child_after(child_begin, failed_creation);
}

static void no_memory(void)
{
	struct task task = {0};
	struct stack *s = stack_of(1);
	arena_set_limit(0);
	while (arena_alloc(16))
		continue;
	CHECK(!threads_prepare(s, NULL, &task));
	CHECK(shared_own(&losses.thread_no_memory) == 1);
}

static void test_at_the_memory_cap_creations_are_lost_and_counted(void **state)
{
	(void)state;
	in_child_after(child_begin, no_memory);
}

static void add_timer(struct thread *t, void *sum)
{
	if (shared_own(&t->timer) != THREAD_NO_TIMER)
		*(int *)sum += (int)shared_own(&t->timer) - 1;
}

static void many_births(void)
{
#ifdef __SANITIZE_THREAD__
	enum { BIRTHS = 1000, AT_ONCE = 4 };
#else
	enum { BIRTHS = 3000, AT_ONCE = 4 };
#endif
	int next = 1;
	struct task task = {.timer = &next};
	struct region r = {0};
	uint64_t after_warming = 0;
	for (int i = 0; i < BIRTHS; i += AT_ONCE) {
		pthread_t t[AT_ONCE];
		for (int k = 0; k < AT_ONCE; k++)
			t[k] = create(5 + (uintptr_t)k, &task);
		for (int k = 0; k < AT_ONCE; k++)
			pthread_join(t[k], NULL);
		if (i == BIRTHS / 2)
			after_warming = arena_mapped_bytes();
	}
	CHECK(__atomic_load_n(&dropped, __ATOMIC_RELAXED) > BIRTHS / 2); /* their timers go, too */
	CHECK(forgotten >= dropped);                                     /* and whatever else is of a thread */
	int kept = 0;
	threads_each(add_timer, &kept);
	CHECK(dropped_sum + kept == BIRTHS * (BIRTHS - 1) / 2); /* each timer once */
	CHECK(arena_mapped_bytes() == after_warming);           /* records of the ended are used again */
	struct thread_snapshot s = snap(&r);
	for (uintptr_t k = 0; k < AT_ONCE; k++)
		CHECK(count_rows(&s, 5 + k, NULL) == BIRTHS / AT_ONCE);
	region_release(&r);
}

/* A thread that was not seen to begin, at its first wait. */
static void entering(void)
{
	house_start(NULL);
	house.on = false;
	CHECK(!threads_enter_self());
	house.on = true;
	CHECK(self_hold());
	CHECK(!threads_enter_self()); /* it holds locks of ours */
	self_release();
	struct thread *t = threads_enter_self();
	CHECK(t && shared_own(&t->tid) == os_tid() && !t->site && shared_own(&t->timer) == THREAD_NO_TIMER);
	CHECK(self.thread == t && threads_enter(os_tid()) == t && threads_facts(os_tid()).thread == t);
	CHECK(!threads_facts(os_tid()).created_by && !threads_facts(0x3ffffff).thread);
	pid_t child = vfork(); /* it has our memory, and is none of our threads */
	if (child == 0)
		_exit(threads_enter_self() != NULL);
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(snapshot_counts().goroutine >= 1);
	struct task quick = {0};
	pthread_t thread = create(1, &quick);
	pthread_join(thread, NULL);
	struct region r = {0};
	struct thread_handles h;
	CHECK(threads_handles(&r, &h));
	CHECK(threads_tid_of(&h, 0) == 0 && threads_tid_of(&h, (uintptr_t)thread) == 0);
	region_release(&r);
}

static void test_a_thread_that_was_not_seen_to_begin_enters_itself(void **state)
{
	(void)state;
	in_child_after(child_begin, entering);
}

static void test_thousands_of_threads_are_counted_exactly_in_bounded_memory(void **state)
{
	(void)state;
	in_child_after(child_begin, many_births);
}

/* More living threads than the snapshot first makes room for. */
static void many_living(void)
{
	enum { N = 150 };
	static pthread_t t[N];
	sem_t begun, go;
	sem_init(&begun, 0, 0);
	sem_init(&go, 0, 0);
	struct task task = {"worker", &begun, &go, NULL};
	struct region r = {0};
	for (int i = 0; i < N; i++)
		t[i] = create(1, &task);
	for (int i = 0; i < N; i++)
		while (sem_wait(&begun) != 0)
			continue;
	struct thread_snapshot s = snap(&r);
	CHECK(count_rows(&s, 1, "worker") == N && s.count == 1);
	for (int i = 0; i < N; i++)
		sem_post(&go);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], NULL);
	region_release(&r);
}

static void test_many_living_threads_all_get_their_names(void **state)
{
	(void)state;
	in_child_after(child_begin, many_living);
}

static void fork_in_the_middle(void)
{
	sem_t begun, go;
	sem_init(&begun, 0, 0);
	sem_init(&go, 0, 0);
	struct task task = {"old", &begun, &go, NULL}, quick = {0};
	struct region r = {0};
	pthread_t t = create(1, &task);
	while (sem_wait(&begun) != 0)
		continue;
	pid_t child = fork();
	if (child == 0) {
		house_fork_child();
		creations_fork_child();
		threads_fork_child();
#ifdef __SANITIZE_THREAD__
		_exit(0); /* which is lost in a child of many threads */
#endif
		struct thread_snapshot s = snap(&r);
		CHECK(s.count == 0 && snapshot_counts().threadcreate == 0);
		pthread_join(create(1, &quick), NULL);
		pthread_join(create(3, &quick), NULL);
		s = snap(&r);
		CHECK(count_rows(&s, 1, NULL) == 1 && count_rows(&s, 3, NULL) == 1 && s.count == 2);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(status == 0);
	struct thread_snapshot s = snap(&r);
	CHECK(count_rows(&s, 1, "old") == 1 && s.count == 1);
	sem_post(&go);
	pthread_join(t, NULL);
	region_release(&r);
}

static void test_the_child_of_a_fork_begins_at_zero_and_the_parent_goes_on(void **state)
{
	(void)state;
	in_child_after(child_begin, fork_in_the_middle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_are_by_stack_and_by_name_of_the_living),
		cmocka_unit_test(test_a_creation_that_failed_is_not_counted),
		cmocka_unit_test(test_at_the_memory_cap_creations_are_lost_and_counted),
		cmocka_unit_test(test_a_thread_that_was_not_seen_to_begin_enters_itself),
		cmocka_unit_test(test_thousands_of_threads_are_counted_exactly_in_bounded_memory),
		cmocka_unit_test(test_many_living_threads_all_get_their_names),
		cmocka_unit_test(test_the_child_of_a_fork_begins_at_zero_and_the_parent_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
