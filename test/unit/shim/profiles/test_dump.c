/* test_dump.c - threads at known places, and the stacks that a dump shows of them.
 *
 * Runs in: its own process; the main thread of a child asks, as the listener would.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/dump.c shim/profiles/dump_ask.c shim/profiles/dump_look.c shim/profiles/deadlock.c
 * links: shim/waits/waits.c shim/waits/restart.c
 * links: shim/waits/restart_look.c shim/waits/restart_transfers.c
 * links: shim/threads/threads.c shim/threads/creations.c shim/threads/timers.c shim/libc/libc_thread.c
 * links: shim/threads/tasks.c
 * links: shim/threads/handles.c shim/threads/descriptors.c shim/threads/unix_peers.c shim/profiles/dump_polled.c
 * links: shim/base/powers.c shim/stack/sample.c shim/waits/signals.c shim/waits/questions.c shim/profiles/sampling.c
 * links: shim/libc/clock.c
 * links: shim/stack/unwind.c shim/stack/step.c shim/stack/bounds.c shim/stack/rules.c shim/stack/code.c
 * links: shim/stack/look.c
 * links: shim/stack/learn.c shim/stack/tables.c
 * links: shim/stack/eh_frame.c
 * links: shim/stack/own_stack.c shim/stack/unwind_libc.c shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/settings.c shim/stack/stacks.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c shim/waits/calls.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/profiles/dump.h"
#include "shim/start/init.h"
#include "shim/listener/listener.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/libc/real.h"
#include "shim/snapshot.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/listener/visitor.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/waits.h"
#include "test/unit/support/asker.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* frames are not the compiler's own, and a handler may find the sanitizer at work */
#else
#define SANITIZED 0
#endif

static bool is_no_knock(const siginfo_t *info)
{
	(void)info;
	return false;
}

/* The listener here is a thread of the process: it has no use for a visitor. */
static const struct signals_takers takers = {.answer = dump_answer, .refuse = dump_refuse, .is_knock = is_no_knock};

static void child_begin(void)
{
	house_start(NULL);
	house.on = true;
	signals_start(&takers);
	modules_on_change(unwind_forget);
	threads_start();
	clock_start();
	modules_refresh();
}

static void in_prepared_child(void (*body)(void))
{
#ifdef __SANITIZE_THREAD__
	skip(); /* it has threads of its own, and does not know of copies that are checked afterwards */
#endif
	in_child_after(child_begin, body);
}

/* --- places: functions in sections of their own, whose bounds the linker knows --------------------------- */

/* Without a frame pointer, which nobody knows of a thread that is blocked and publishes nothing. */
#define PLACE(name) __attribute__((noinline, noclone, optimize("omit-frame-pointer"), section("place_" #name)))
#define BOUNDS(name) extern const char __start_place_##name[], __stop_place_##name[]
BOUNDS(mutex);
BOUNDS(poll);
BOUNDS(spin);
BOUNDS(outer);
BOUNDS(futex);
BOUNDS(hook);
#define IS_IN(pc, name) \
	((pc) - (uintptr_t)__start_place_##name < (uintptr_t)(__stop_place_##name - __start_place_##name))
#define STACK_HAS(t, name) \
	({ \
		bool has_ = false; \
		for (size_t i_ = 0; (t)->stack && i_ < (t)->stack->depth; i_++) \
			has_ |= IS_IN((t)->stack->pc[i_], name); \
		has_; \
	})

static volatile int keep;
static uint32_t ready, go; /* atomic */
static pthread_mutex_t mutexes[3] = {[0 ... 2] = PTHREAD_MUTEX_INITIALIZER};
static int tids[1100];

/* What the beginning of a thread does. */
static void begin_thread_here(void)
{
	if (!threads_self())
		self.thread = threads_enter(os_tid());
}

/* What hooks do. */
static PLACE(hook) int hook_mutex_lock(pthread_mutex_t *m)
{
	struct wait_scope scope;
	begin_thread_here();
	waits_enter(&scope, WAIT_pthread_mutex_lock, (uintptr_t)m, UNWIND_CALLER(), clock_ns(CLOCK_MONOTONIC_COARSE));
	int r = real_pthread_mutex_lock(m);
	waits_leave(&scope);
	return r;
}

static PLACE(hook) int hook_poll(int timeout)
{
	struct wait_scope scope;
	begin_thread_here();
	waits_enter(&scope, WAIT_poll, 0, UNWIND_CALLER(), 0);
	int r = real_poll(NULL, 0, timeout);
	waits_leave(&scope);
	return r;
}

static void here(int i)
{
	__atomic_store_n(&tids[i], os_tid(), __ATOMIC_RELEASE);
	__atomic_fetch_add(&ready, 1, __ATOMIC_RELEASE);
}

static PLACE(mutex) int at_mutex(void)
{
	int r = hook_mutex_lock(&mutexes[0]);
	pthread_mutex_unlock(&mutexes[0]);
	return r + keep;
}

static PLACE(poll) int at_poll(void)
{
	return poll(NULL, 0, 100000) + keep;
}

static PLACE(futex) int at_published_poll(void)
{
	return hook_poll(100000) + keep;
}

static PLACE(spin) int at_spin(void)
{
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED))
		keep++;
	return keep;
}

static PLACE(outer) int through(int (*next)(void))
{
	volatile char a[500];
	a[keep & 1] = 1;
	return next() + a[0] + keep;
}

static struct job {
	int (*run)(void);
	const char *name;
} jobs[1100];

static void *job_main(void *arg)
{
	struct job *j = arg;
	if (j->name)
		prctl(PR_SET_NAME, j->name);
	here((int)(j - jobs));
	through(j->run);
	return NULL;
}

static void begin(int count)
{
	pthread_t t;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (int i = 0; i < count; i++)
		CHECK(pthread_create(&t, &attr, job_main, &jobs[i]) == 0);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < (uint32_t)count)
		usleep(1000);
}

static void until_blocked(int i)
{
	for (int k = 0, blocked = 0; k < 5000 && blocked < 3; k++, usleep(1000)) {
		struct task t = tasks_look(tids[i]);
		blocked = t.state == TASK_BLOCKED || t.state == TASK_SLEEPS ? blocked + 1 : 0;
	}
}

static struct region region;
static struct dump_snapshot dump(void)
{
	struct dump_snapshot s;
	CHECK(snapshot_dump(&region, &s) == 0);
	CHECK(s.time_ns > 1600000000ull * 1000000000);
	return s;
}

static const struct dump_thread *find(const struct dump_snapshot *s, int i)
{
	for (size_t k = 0; k < s->count; k++)
		if (s->threads[k].tid == tids[i])
			return &s->threads[k];
	return NULL;
}

static void print(const struct dump_snapshot *s)
{
	for (size_t k = 0; k < s->count; k++) {
		const struct dump_thread *t = &s->threads[k];
		dprintf(2, "# %d %s [%s] %s: ", t->tid, t->name, t->state, t->reason ? t->reason : "");
		for (size_t i = 0; t->stack && i < t->stack->depth; i++)
			dprintf(2, " %#lx", (long)t->stack->pc[i]);
		dprintf(2, "\n");
	}
}

#define CHECK_DUMP(what) \
	do { \
		if (!(what)) \
			print(&s); \
		CHECK(what); \
	} while (0)

/* --- one thread of each kind ----------------------------------------------------------------------------- */

static void published(void)
{
	hook_mutex_lock(&mutexes[0]);
	jobs[0] = (struct job){at_mutex, "locker"};
	jobs[1] = (struct job){at_published_poll, "poller"};
	begin(2);
	until_blocked(0);
	until_blocked(1);
	usleep(50000);
	for (int round = 0; round < 3; round++) { /* rules unknown, then known */
		struct dump_snapshot s = dump();
		CHECK_DUMP(s.count == 2 && s.deadlock_count == 0);
		const struct dump_thread *t = find(&s, 0);
		CHECK_DUMP(t && strcmp(t->name, "locker") == 0 && strcmp(t->state, "pthread_mutex_lock") == 0);
		CHECK_DUMP(t->object_kind == DUMP_ADDRESS && t->object == (uintptr_t)&mutexes[0]);
		CHECK_DUMP(t->owner_tid == os_tid() && t->owner_name && !t->reason);
		CHECK_DUMP(t->since_ns >= 40000000 && t->since_ns < 60000000000);
		CHECK_DUMP(STACK_HAS(t, mutex) && STACK_HAS(t, outer));
		t = find(&s, 1);
		CHECK_DUMP(t && strcmp(t->name, "poller") == 0 && strcmp(t->state, "poll") == 0);
		CHECK_DUMP(t->object_kind == DUMP_NO_OBJECT && t->owner_tid == 0 && !t->reason);
		CHECK_DUMP(STACK_HAS(t, futex) && STACK_HAS(t, outer));
		region_release(&region);
	}
}

static void test_a_thread_that_publishes_its_wait_is_shown_in_it(void **state)
{
	(void)state;
	in_prepared_child(published);
}

static void unpublished(void)
{
	jobs[0] = (struct job){at_poll, "raw"};
	begin(1);
	until_blocked(0);
	struct dump_snapshot s = dump();
	CHECK_DUMP(s.count == 1);
	const struct dump_thread *t = find(&s, 0);
	if (tasks_look(tids[0]).state == TASK_SLEEPS)
		_exit(CHILD_SKIPPED); /* the kernel does not say where */
	CHECK_DUMP(t && strcmp(t->name, "raw") == 0 && strcmp(t->state, "poll") == 0 && !t->owner_tid);
	CHECK_DUMP(t->stack && !IS_IN(t->stack->pc[0], poll)); /* libc's */
	CHECK_DUMP(STACK_HAS(t, poll) && STACK_HAS(t, outer));
}

static void test_a_blocked_thread_that_publishes_nothing_is_shown_as_the_kernel_has_it(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_prepared_child(unpublished);
}

static void running(void)
{
	for (int i = 0; i < 5; i++) /* more than there may be processors */
		jobs[i] = (struct job){at_spin, "spinner"};
	begin(5);
	for (int round = 0; round < 4; round++) {
		struct dump_snapshot s = dump();
		CHECK_DUMP(s.count == 5);
		int found = 0;
		for (int i = 0; i < 5; i++) {
			const struct dump_thread *t = find(&s, i);
			CHECK_DUMP(t && strcmp(t->state, "running") == 0 && t->object_kind == DUMP_NO_OBJECT &&
			           t->since_ns < 0);
			CHECK_DUMP(t->stack || t->reason); /* too late, where there is much to do */
			if (!t->stack)
				continue;
			found++;
			CHECK_DUMP(IS_IN(t->stack->pc[0], spin) && STACK_HAS(t, outer));
		}
		CHECK_DUMP(found > 0);
	}
	__atomic_store_n(&go, 1, __ATOMIC_RELAXED);
}

static void test_running_threads_show_where_they_are(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_prepared_child(running);
}

static PLACE(spin) int at_deaf_spin(void)
{
	uint64_t mask = 1ull << 32;
	os_call(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, 8);
	here(1);
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED))
		keep++;
	return keep;
}

static void deaf(void)
{
	jobs[0] = (struct job){at_deaf_spin, "deaf"};
	begin(2 - 1);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2)
		usleep(100);
	struct dump_snapshot s = dump();
	const struct dump_thread *t = find(&s, 0);
	CHECK_DUMP(s.count == 1 && t && !t->stack && strcmp(t->state, "running") == 0);
	CHECK_DUMP(t->reason && strstr(t->reason, "blocks signal 33"));
	__atomic_store_n(&go, 1, __ATOMIC_RELAXED);
}

static void test_a_running_thread_that_blocks_our_signal_is_listed_with_the_reason(void **state)
{
	(void)state;
	in_prepared_child(deaf);
}

static void *nothing(void *arg)
{
	return arg;
}

static void *be_born_and_die(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED)) {
		pthread_t t[4];
		for (int i = 0; i < 4; i++)
			CHECK(pthread_create(&t[i], NULL, nothing, NULL) == 0);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], NULL);
	}
	return NULL;
}

static void ending(void)
{
	pthread_t parent;
	jobs[0] = (struct job){at_published_poll, "stays"};
	begin(1);
	until_blocked(0);
	CHECK(pthread_create(&parent, NULL, be_born_and_die, NULL) == 0);
	for (int round = 0; round < 30; round++) {
		struct dump_snapshot s = dump();
		CHECK_DUMP(s.count >= 1 && s.count < 10 && find(&s, 0) && STACK_HAS(find(&s, 0), futex));
		for (size_t i = 0; i < s.count; i++)
			CHECK_DUMP(s.threads[i].name && s.threads[i].state);
		region_release(&region);
	}
	__atomic_store_n(&go, 1, __ATOMIC_RELAXED);
	pthread_join(parent, NULL);
	for (int k = 0; k < 1000 && tasks_count() > 1; k++)
		usleep(1000);
	CHECK(dump().count == 1);
}

static void test_threads_that_end_meanwhile_are_left_out(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_prepared_child(ending);
}

/* --- waits that were left by a jump --------------------------------------------------------------------- */

static __thread jmp_buf out;
static __thread bool jump;
static PLACE(hook) int hook_that_jumps(void)
{
	struct wait_scope scope;
	begin_thread_here();
	waits_enter(&scope, WAIT_sem_wait, 1, UNWIND_CALLER(), 1);
	if (jump)
		longjmp(out, 1);
	waits_leave(&scope);
	return ++keep;
}

static PLACE(mutex) int leave_a_wait(void)
{
	jump = true;
	if (setjmp(out) == 0)
		hook_that_jumps();
	return ++keep;
}

static PLACE(spin) int jump_then_spin(void)
{
	leave_a_wait();
	here(2);
	while (!__atomic_load_n(&go, __ATOMIC_RELAXED))
		keep++;
	return keep;
}

static PLACE(poll) int jump_then_poll(void)
{
	leave_a_wait();
	here(3);
	return poll(NULL, 0, 100000) + keep;
}

static void after_a_jump(void)
{
	jobs[0] = (struct job){jump_then_poll, "poll"};
	jobs[1] = (struct job){jump_then_spin, "spin"};
	begin(2);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 4)
		usleep(100);
	until_blocked(0);
	struct dump_snapshot s = dump();
	const struct dump_thread *t = find(&s, 0);
	CHECK_DUMP(t && strcmp(t->state, "sem_wait") != 0);
	if (tasks_look(tids[0]).state == TASK_BLOCKED) {
		CHECK_DUMP(strcmp(t->state, "poll") == 0 && t->object != 1);
		CHECK_DUMP(STACK_HAS(t, poll) && STACK_HAS(t, outer) && !STACK_HAS(t, mutex));
	}
	if (!SANITIZED) {
		t = find(&s, 1);
		CHECK_DUMP(t && strcmp(t->state, "running") == 0);
		CHECK_DUMP(t->stack || t->reason);
		CHECK_DUMP(!t->stack || (STACK_HAS(t, spin) && !STACK_HAS(t, mutex)));
	}
	__atomic_store_n(&go, 1, __ATOMIC_RELAXED);
}

static void test_a_wait_that_was_left_by_a_jump_is_not_believed(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_prepared_child(after_a_jump);
}

/* --- deadlocks --------------------------------------------------------------------------------------------- */

static int lock_1_then_2(void)
{
	hook_mutex_lock(&mutexes[1]);
	here(2);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 4)
		usleep(1000);
	return hook_mutex_lock(&mutexes[2]) + keep;
}

static int lock_2_then_1(void)
{
	hook_mutex_lock(&mutexes[2]);
	here(3);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 4)
		usleep(1000);
	return hook_mutex_lock(&mutexes[1]) + keep;
}

static void deadlock(void)
{
	jobs[0] = (struct job){lock_1_then_2, "one"};
	jobs[1] = (struct job){lock_2_then_1, "two"};
	begin(2);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 4)
		usleep(100);
	for (int round = 0; round < 2; round++) {
		until_blocked(0);
		until_blocked(1);
	}
	struct dump_snapshot s = dump();
	CHECK_DUMP(s.deadlock_count == 1 && s.stuck[0].is_deadlock && s.stuck[0].count == 2);
	const struct dump_thread *a = &s.threads[s.stuck[0].chain[0]], *b = &s.threads[s.stuck[0].chain[1]];
	CHECK_DUMP(a != b && a->owner_tid == b->tid && b->owner_tid == a->tid);
	CHECK_DUMP(strcmp(a->owner_name, b->name) == 0 && strcmp(b->owner_name, a->name) == 0);
}

static void test_a_deadlock_is_in_the_dump(void **state)
{
	(void)state;
	in_prepared_child(deadlock);
}

/* --- many ------------------------------------------------------------------------------------------------- */

static void thousand(void)
{
	enum { MANY = SANITIZED ? 200 : 1000 };
	hook_mutex_lock(&mutexes[0]);
	for (int i = 0; i < MANY; i++)
		jobs[i] = (struct job){i % 2 ? at_mutex : at_published_poll, NULL};
	begin(MANY);
	until_blocked(MANY - 1);
	usleep(200000);
	uint64_t begun = os_clock_ns(CLOCK_MONOTONIC);
	struct dump_snapshot s = dump();
	dprintf(2, "# %d threads: %d ms\n", MANY, (int)((os_clock_ns(CLOCK_MONOTONIC) - begun) / 1000000));
	CHECK(s.count == MANY && s.deadlock_count == 0);
	for (int i = 0; i < MANY; i++) {
		const struct dump_thread *t = find(&s, i);
		CHECK_DUMP(t && strcmp(t->state, i % 2 ? "pthread_mutex_lock" : "poll") == 0);
		CHECK_DUMP(STACK_HAS(t, outer) && (i % 2 ? STACK_HAS(t, mutex) : STACK_HAS(t, futex)));
		CHECK_DUMP(t->owner_tid == (i % 2 ? os_tid() : 0));
	}
	for (size_t i = 0; i < s.count; i++) /* each once; numbers need not rise, as they are used again */
		for (size_t k = 0; k < i; k++)
			CHECK(s.threads[k].tid != s.threads[i].tid);
}

static void test_a_thousand_threads_are_all_shown_where_they_are(void **state)
{
	(void)state;
	in_prepared_child(thousand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thread_that_publishes_its_wait_is_shown_in_it),
		cmocka_unit_test(test_a_blocked_thread_that_publishes_nothing_is_shown_as_the_kernel_has_it),
		cmocka_unit_test(test_running_threads_show_where_they_are),
		cmocka_unit_test(test_a_running_thread_that_blocks_our_signal_is_listed_with_the_reason),
		cmocka_unit_test(test_threads_that_end_meanwhile_are_left_out),
		cmocka_unit_test(test_a_wait_that_was_left_by_a_jump_is_not_believed),
		cmocka_unit_test(test_a_deadlock_is_in_the_dump),
		cmocka_unit_test(test_a_thousand_threads_are_all_shown_where_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
