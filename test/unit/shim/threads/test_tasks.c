/* test_tasks.c - what the kernel says of threads that run, that are blocked in known calls, and that have ended.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/threads/tasks.c shim/base/powers.c shim/libc/clock.c shim/libc/real.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/listener/listener.h"
#include "shim/base/os.h"
#include "shim/threads/tasks.h"
#include "test/unit/support/count.h"

static shared_int own_listener;
__attribute__((constructor)) static void hide(void)
{
	tasks_hide(TASKS_LISTENER, &own_listener);
}

/* Threads, each in a state of its own until it is told to go on. */
enum way { IN_FUTEX, IN_POLL, IN_NANOSLEEP, RUNNING, WAYS };
static struct one {
	enum way way;
	const char *name;
	int tid; /* atomic */
	pthread_t thread;
	char *stack_lo, *stack_hi;
} ones[400];
static uint32_t go;  /* atomic; a futex */
static int going[2]; /* a pipe: readable when they may go */

static void *one_main(void *arg)
{
	struct one *o = arg;
	if (o->name)
		prctl(PR_SET_NAME, o->name);
	pthread_attr_t attr;
	void *lo;
	size_t bytes;
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &lo, &bytes);
	pthread_attr_destroy(&attr);
	o->stack_lo = lo;
	o->stack_hi = o->stack_lo + bytes;
	__atomic_store_n(&o->tid, os_tid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		switch (o->way) {
		case IN_FUTEX: syscall(SYS_futex, &go, FUTEX_WAIT_PRIVATE, 0, NULL); break;
		case IN_POLL: poll(&(struct pollfd){going[0], POLLIN, 0}, 1, -1); break;
		case IN_NANOSLEEP: nanosleep(&(struct timespec){0, 300000000}, NULL); break;
		default: break;
		}
	return NULL;
}

static int tid_of(size_t i)
{
	return __atomic_load_n(&ones[i].tid, __ATOMIC_ACQUIRE);
}

static void begin(size_t count)
{
	__atomic_store_n(&go, 0, __ATOMIC_RELAXED);
	assert_int_equal(pipe(going), 0);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	for (size_t i = 0; i < count; i++) {
		__atomic_store_n(&ones[i].tid, 0, __ATOMIC_RELAXED);
		assert_int_equal(pthread_create(&ones[i].thread, &attr, one_main, &ones[i]), 0);
	}
	pthread_attr_destroy(&attr);
	for (size_t i = 0; i < count; i++)
		while (!__atomic_load_n(&ones[i].tid, __ATOMIC_ACQUIRE))
			usleep(100);
}

static void end(size_t count)
{
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&go, 1 << 20);
	assert_int_equal(write(going[1], "!", 1), 1); /* which nobody takes out */
	for (size_t i = 0; i < count; i++)
		pthread_join(ones[i].thread, NULL);
	close(going[1]);
	close(going[0]);
	memset(ones, 0, sizeof ones);
}

/* It may be on its way to where it will block. */
static struct task look_until(int tid, enum task_state state)
{
	struct task t = tasks_look(tid);
	for (int i = 0; i < 3000 && t.state != state; i++) {
		usleep(1000);
		t = tasks_look(tid);
	}
	return t;
}

static void *nothing(void *arg)
{
	return arg;
}

/* Sanitizers have threads of their own, from the first one of the program's on. */
static size_t before;
static int count_before(void **state)
{
	(void)state;
	pthread_t t;
	if (pthread_create(&t, NULL, nothing, NULL) == 0)
		pthread_join(t, NULL);
	usleep(20000);
	shared_set_own(&own_listener, 0);
	before = tasks_count();
	return before >= 1 ? 0 : -1;
}

static void test_the_list_has_every_thread_once_the_main_one_first(void **state)
{
	(void)state;
	enum { MANY = 300 }; /* more than fit into one reading of the folder, or the first piece of memory */
	struct region r = {0};
	size_t count;
	for (int i = 0; i < MANY; i++)
		ones[i].way = IN_FUTEX;
	begin(MANY);
	int *tids = tasks_list(&r, &count);
	assert_non_null(tids);
	assert_int_equal(count, before + MANY);
	assert_int_equal(tasks_count(), count);
	assert_int_equal(tids[0], os_pid());
	for (int i = 0; i < MANY; i++) {
		int times = 0;
		for (size_t k = 0; k < count; k++)
			times += tids[k] == tid_of(i);
		assert_int_equal(times, 1);
	}
	end(MANY);
	region_release(&r);
}

static void test_the_listener_is_none_of_the_programs_threads(void **state)
{
	(void)state;
	struct region r = {0};
	size_t count;
	ones[0].way = ones[1].way = IN_POLL;
	begin(2);
	shared_set_own(&own_listener, tid_of(0));
	int *tids = tasks_list(&r, &count);
	assert_int_equal(count, before + 1);
	assert_int_equal(tasks_count(), before + 1);
	for (size_t k = 0; k < count; k++)
		assert_int_not_equal(tids[k], shared_own(&own_listener));
	shared_set_own(&own_listener, 0);
	assert_int_equal(tasks_count(), before + 2);
	end(2);
	region_release(&r);
}

static void test_without_memory_there_is_no_list(void **state)
{
	(void)state;
	struct region r = {0};
	size_t count = 77;
	arena_set_limit(0);
	arena_set_least_for_requests(0);
	assert_null(tasks_list(&r, &count));
	assert_int_equal(count, 0);
	assert_null(tasks_name(&r, os_tid()));
	arena_set_limit(64 << 20);
	region_release(&r);
}

static void test_names_are_as_the_threads_set_them(void **state)
{
	static const char *const names[] = {"plain", "two words", "a) R (b", "(", ")))", "123456789012345", " x", "é"};
	(void)state;
	struct region r = {0};
	for (size_t i = 0; i < COUNT(names); i++)
		ones[i] = (struct one){.way = IN_FUTEX, .name = names[i]};
	begin(COUNT(names));
	for (size_t i = 0; i < COUNT(names); i++) {
		const char *name = tasks_name(&r, tid_of(i));
		assert_non_null(name);
		assert_string_equal(name, names[i]);
		assert_int_equal(look_until(tid_of(i), TASK_BLOCKED).state, TASK_BLOCKED);
	}
	int tid = tid_of(0);
	end(COUNT(names));
	assert_null(tasks_name(&r, tid));
	region_release(&r);
}

static void test_of_a_blocked_thread_the_call_and_the_place_are_known(void **state)
{
	(void)state;
	static const int nr[] = {SYS_futex, SYS_poll, SYS_clock_nanosleep};
	char text[16];
	if (tasks_read(os_tid(), "syscall", text, sizeof text) < 0)
		skip(); /* this kernel, or sandbox, has no such file */
	for (int i = 0; i < 3; i++)
		ones[i].way = (enum way)i;
	begin(3);
	for (int i = 0; i < 3; i++) {
		struct task t = look_until(tid_of(i), TASK_BLOCKED);
		assert_int_equal(t.state, TASK_BLOCKED);
		for (int k = 0; k < 100 && t.nr != nr[i]; k++, usleep(1000)) /* blocked in another one first */
			t = tasks_look(tid_of(i));
		if (i != IN_NANOSLEEP || t.nr != SYS_restart_syscall)
			assert_int_equal(t.nr, nr[i]);
		assert_true(t.sp > (uintptr_t)ones[i].stack_lo && t.sp < (uintptr_t)ones[i].stack_hi);
		assert_true(*(const unsigned char *)(t.pc - 2) == 0x0f && *(const unsigned char *)(t.pc - 1) == 0x05);
		struct task again = tasks_look(tid_of(i));
		if (i != IN_NANOSLEEP)
			assert_true(tasks_same(&t, &again));
	}
	assert_int_equal(tasks_look(tid_of(0)).args[0], (uintptr_t)&go);
	assert_int_equal(tasks_look(tid_of(0)).args[1], FUTEX_WAIT_PRIVATE);
	assert_int_equal(tasks_look(tid_of(1)).args[1], 1);
	end(3);
}

static void test_one_that_runs_or_could_is_running(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		ones[i] = (struct one){.way = RUNNING,
		                       .name = i % 2 ? "x) S (y" : "S"}; /* more than there may be processors */
	begin(4);
	for (int i = 0; i < 4; i++) /* it may have to wait for memory first */
		look_until(tid_of(i), TASK_RUNS);
	for (int round = 0; round < 50; round++)
		for (int i = 0; i < 4; i++) {
			struct task t = tasks_look(tid_of(i));
			if (t.state != TASK_RUNS)
				fail_msg("thread %d, round %d: state %d, call %d, pc %#lx", i, round, t.state, t.nr,
				         (long)t.pc);
		}
	end(4);
}

static void test_one_that_has_ended_is_gone(void **state)
{
	(void)state;
	ones[0].way = IN_FUTEX;
	begin(1);
	int tid = tid_of(0);
	end(1);
	for (int i = 0; i < 1000 && tasks_look(tid).state != TASK_GONE; i++)
		usleep(1000); /* joined is not yet reaped */
	assert_int_equal(tasks_look(tid).state, TASK_GONE);
	assert_int_equal(tasks_look(0x3ffffff).state, TASK_GONE);
	assert_int_equal(tasks_idle_ns(tid, NULL), -1);
	assert_false(tasks_blocks(tid, SIGUSR1));
}

static void test_a_sleeping_threads_idle_time_grows_and_a_running_ones_does_not(void **state)
{
	(void)state;
	char text[64];
	ones[0].way = IN_POLL;
	ones[1].way = RUNNING;
	if (tasks_read(os_tid(), "sched", text, sizeof text) <= 0 || tasks_idle_ns(os_tid(), NULL) < 0) {
		assert_int_equal(tasks_idle_ns(os_tid(), NULL), -1);
		skip();
	}
	/* The scheduler's clocks of two processors differ by what was stolen from each: stay on one. */
	cpu_set_t all, one;
	assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	begin(2);
	look_until(tid_of(0), TASK_BLOCKED);
	int64_t first = tasks_idle_ns(tid_of(0), NULL);
	assert_true(first >= 0);
	uint64_t begun = os_clock_ns(CLOCK_MONOTONIC);
	usleep(200000);
	int64_t second = tasks_idle_ns(tid_of(0), NULL), slept = (int64_t)(os_clock_ns(CLOCK_MONOTONIC) - begun);
	assert_true(second >= first + 100000000);
	assert_true(second <= first + slept + 50000000);
	/* with a processor, or waiting for one */
	assert_true(tasks_idle_ns(tid_of(1), NULL) < 200000000);
	assert_true(tasks_idle_ns(os_tid(), NULL) < 50000000);
	sched_setaffinity(0, sizeof all, &all);
	end(2);
}

static void *block_and_wait(void *arg)
{
	uint64_t mask = 1ull << 32 | 1ull << (SIGUSR2 - 1) | 1ull << 63; /* 33, which libc lets nobody block, and 64 */
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	return one_main(arg);
}

static void test_what_a_thread_blocks_is_known(void **state)
{
	(void)state;
	assert_int_equal(pipe(going), 0);
	go = 0;
	ones[0] = (struct one){.way = IN_FUTEX};
	assert_int_equal(pthread_create(&ones[0].thread, NULL, block_and_wait, &ones[0]), 0);
	while (!__atomic_load_n(&ones[0].tid, __ATOMIC_ACQUIRE))
		usleep(100);
	for (int sig = 1; sig <= 64; sig++)
		assert_int_equal(tasks_blocks(tid_of(0), sig), sig == 33 || sig == SIGUSR2 || sig == 64);
	for (int sig = 1; sig <= 64; sig++)
		assert_false(tasks_blocks(os_tid(), sig));
	end(1);
}

static void test_what_cannot_be_read_is_an_error(void **state)
{
	char text[8];
	(void)state;
	assert_int_equal(tasks_read(os_tid(), "no_such_file", text, sizeof text), -ENOENT);
	assert_int_equal(tasks_read(0x3ffffff, "comm", text, sizeof text), -ENOENT);
	assert_int_equal(tasks_read(os_tid(), "status", text, sizeof text), 7); /* a piece of it */
	assert_int_equal(strlen(text), 7);
	assert_memory_equal(text, "Name:\t", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_list_has_every_thread_once_the_main_one_first),
		cmocka_unit_test(test_the_listener_is_none_of_the_programs_threads),
		cmocka_unit_test(test_without_memory_there_is_no_list),
		cmocka_unit_test(test_names_are_as_the_threads_set_them),
		cmocka_unit_test(test_of_a_blocked_thread_the_call_and_the_place_are_known),
		cmocka_unit_test(test_one_that_runs_or_could_is_running),
		cmocka_unit_test(test_one_that_has_ended_is_gone),
		cmocka_unit_test(test_a_sleeping_threads_idle_time_grows_and_a_running_ones_does_not),
		cmocka_unit_test(test_what_a_thread_blocks_is_known),
		cmocka_unit_test(test_what_cannot_be_read_is_an_error),
	};
	return cmocka_run_group_tests(tests, count_before, NULL);
}
