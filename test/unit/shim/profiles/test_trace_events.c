/* test_trace_events.c - what threads write of their waits, births, ends and samples while a trace is taken.
 *
 * Runs in: its own process, with threads. The clock is a number that the tests set, or one that every look at it moves
 * on; records are the tests' own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/trace_events.c shim/stack/stacks.c shim/base/losses.c shim/profiles/sampling.c
 * links: shim/base/settings.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include "test/unit/shim/profiles/trace_events_made.h"

/* --- helpers ----------------------------------------------------------------------------------- */

static const struct trace_event *newest(void)
{
	return event(count_events() - 1);
}

/* --- events ---------------------------------------------------------------------------------------- */

static void test_a_wait_is_written_with_all_that_is_known_of_it(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	assert_true(trace_is_on());
	be(3);
	errno = ENOENT;
	trace_waited(VIEW_SELECT, WAIT_epoll_wait, 7, 5000, 90000, at(1));
	assert_int_equal(errno, ENOENT);
	assert_int_equal(count_events(), 1);
	const struct trace_event *e = event(0);
	assert_int_equal(e->kind, TRACE_SELECT);
	assert_int_equal(e->tid, 103);
	assert_int_equal(e->call, WAIT_epoll_wait);
	assert_int_equal(e->object, 7);
	assert_int_equal(e->start_ns, 5000);
	assert_int_equal(e->end_ns, 90000);
	assert_int_equal(e->stack->pc[0], 0x1000 + WAIT_epoll_wait);
	assert_int_equal(e->stack->pc[1], 0x400001);
	assert_int_equal(e->woken_ns, 0);
	assert_null(e->woken_by);
	assert_int_equal(e->other_tid, 0);
	assert_false(self.busy);
	trace_waited(VIEW_SYNC, WAIT_pthread_mutex_lock, 8, 0, 95000, at(1)); /* from before the trace */
	assert_int_equal(newest()->start_ns, 0);
	assert_true(trace_close());
	assert_false(trace_is_on());
}

static void test_births_and_ends_say_who_and_when(void **state)
{
	struct thread_site site = {stacks_intern((uintptr_t[]){0x400077}, 1)};
	(void)state;
	assert_int_equal(trace_open(), 0);
	be(1);
	trace_born(&records[1], &(struct thread_start){.site = &site, .creator_tid = 100, .created_ns = 900000});
	const struct trace_event *e = newest();
	assert_int_equal(e->kind, TRACE_BORN);
	assert_int_equal(e->tid, 101);
	assert_int_equal(e->start_ns, now_ns);
	assert_int_equal(e->end_ns, now_ns);
	assert_int_equal(e->creator_tid, 100);
	assert_int_equal(e->created_ns, 900000);
	assert_ptr_equal(e->stack, site.stack);
	be(2);
	trace_born(&records[2], &(struct thread_start){.site = NULL}); /* created before the trace */
	assert_null(newest()->stack);
	assert_int_equal(newest()->created_ns, now_ns);
	assert_false(trace_end_is_told(&records[2]));
	prctl(PR_SET_NAME, "a-name-of-15-by");
	trace_ended();
	assert_int_equal(newest()->kind, TRACE_ENDED);
	assert_int_equal(newest()->tid, 102);
	assert_string_equal(newest()->text, "a-name-of-15-by");
	assert_true(trace_end_is_told(&records[2]));
	assert_false(trace_end_is_told(&records[1]));
	trace_forget(&records[2]); /* another thread gets it */
	assert_false(trace_end_is_told(&records[2]));
	be(1);
	trace_ended();
	trace_close();
	trace_free();
	assert_int_equal(trace_open(), 0); /* that was another trace */
	assert_false(trace_end_is_told(&records[1]));
	self.thread = NULL;
	trace_ended(); /* a thread that nobody knows */
	assert_int_equal(count_events(), 0);
}

static void test_samples_of_memory_and_of_time_are_written(void **state)
{
	struct {
		struct sample s;
		uintptr_t pc[3];
	} sample = {.s = {.tid = 105, .time_ns = 4321, .depth = 3, .place = 2}, .pc = {1, 2, 3}};
	(void)state;
	assert_int_equal(trace_open(), 0);
	be(4);
	heap_event(12345678901);
	assert_int_equal(newest()->kind, TRACE_HEAP);
	assert_true(newest()->bytes == 12345678901);
	heap_event(-5);
	assert_true(newest()->bytes == -5 && newest()->tid == 104 && newest()->start_ns == now_ns &&
	            newest()->end_ns == now_ns);
	assert_int_equal(made, 0);
	self.thread = NULL; /* it was not seen to begin */
	heap_event(6);
	assert_int_equal(made, 1);
	assert_int_equal(newest()->tid, 100);
	trace_cpu(&sample.s);
	assert_int_equal(newest()->kind, TRACE_CPU);
	assert_int_equal(newest()->tid, 105);
	assert_int_equal(newest()->start_ns, 4321);
	assert_int_equal(newest()->end_ns, 4321);
	assert_int_equal(newest()->stack->depth, 3);
	assert_int_equal(newest()->stack->place, 2);
}

static void test_of_a_line_of_the_log_the_end_is_kept(void **state)
{
	static const struct {
		const char *text, *kept;
	} rows[] = {
		{"", ""},
		{"libm.so.6", "libm.so.6"},
		{"/usr/lib/x86_64-linux/libabc.so", "/usr/lib/x86_64-linux/libabc.so"}, /* 31 bytes */
		{"//usr/lib/x86_64-linux/libabc.so", "/usr/lib/x86_64-linux/libabc.so"},
		{"/a/very/long/path/usr/lib/x86_64-linux/libabc.so", "/usr/lib/x86_64-linux/libabc.so"},
	};
	(void)state;
	assert_int_equal(trace_open(), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		errno = ENOENT;
		trace_log(i % 2 ? TRACE_LOG_DLCLOSE : TRACE_LOG_DLOPEN, rows[i].text, at(9));
		assert_int_equal(errno, ENOENT);
		assert_int_equal(newest()->kind, TRACE_LOG);
		assert_int_equal(newest()->category, i % 2 ? TRACE_LOG_DLCLOSE : TRACE_LOG_DLOPEN);
		assert_string_equal(newest()->text, rows[i].kept);
		assert_int_equal(newest()->stack->pc[1], 0x400009);
	}
	self.thread = NULL;
	trace_log(TRACE_LOG_DLOPEN, "x", at(9));
	assert_int_equal(made, 1);
	assert_int_equal(count_events(), COUNT(rows) + 1);
}

static void test_a_thread_that_is_busy_leaves_the_trace_alone(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	assert_true(self_hold());
	wait_from_to(VIEW_SYNC, 1, 1, 100000);
	trace_wakes(1, 2, at(3));
	trace_log(TRACE_LOG_DLOPEN, "x", at(3));
	trace_ended();
	self.thread = NULL;
	trace_wakes(1, 2, at(3));
	assert_int_equal(count_events(), 0);
	assert_true(self.busy);
	self_release();
	wait_from_to(VIEW_SYNC, 1, 1, 100000); /* nor has one that nobody knows waited */
	assert_int_equal(count_events(), 0);
}

static void test_without_a_trace_nothing_is_written(void **state)
{
	(void)state;
	heap_event(1);
	trace_wakes(1, 2, at(3)); /* there are no wakers */
	assert_int_equal(trace_open(), 0);
	heap_event(1);
	assert_true(trace_close());
	heap_event(2);
	wait_from_to(VIEW_SYNC, 1, 1, 100000);
	trace_wakes(1, 2, at(3));
	trace_log(TRACE_LOG_DLOPEN, "x", at(3));
	trace_ended();
	trace_born(&records[0], &(struct thread_start){0});
	assert_int_equal(count_events(), 1);
	trace_add(&(struct trace_event){.kind = TRACE_ENDED}); /* the listener closes first, and then sums up */
	assert_int_equal(count_events(), 2);
	trace_free();
	heap_event(3);
	for (size_t i = 0; i < COUNT(records); i++)
		assert_int_equal(shared_own(&records[i].is_tracing), 0);
}

/* --- what a wait is shown as --------------------------------------------------------------------------- */

static void test_what_took_no_time_was_no_wait(void **state)
{
	static const struct {
		enum wait_view view;
		uint64_t least_ns; /* at most 3 us, of sending 20 us; 0: every one is shown */
	} rows[] = {{VIEW_SYNC, 0},       {VIEW_COND, 0},     {VIEW_SLEEP, 0},
	            {VIEW_NET, 3000},     {VIEW_READ, 3000},  {VIEW_SELECT, 3000},
	            {VIEW_SYSCALL, 3000}, {VIEW_SEND, 20000}, {VIEW_WRITE, 20000}};
	size_t n = 0;
	(void)state;
	assert_int_equal(trace_open(), 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (rows[i].least_ns)
			wait_from_to(rows[i].view, 1, 50000, 50000 + rows[i].least_ns - 1);
		assert_int_equal(count_events(), n);
		wait_from_to(rows[i].view, 1, 50000, 50000 + rows[i].least_ns);
		wait_from_to(rows[i].view, 1, 0, 10); /* it began before the trace: how long it took is not known */
		assert_int_equal(count_events(), n += 2);
	}
}

static void test_a_wait_is_of_the_kind_of_its_view_and_descriptors_are_looked_at(void **state)
{
	int pipes[2], sockets[2], file = open("/proc/self/exe", O_RDONLY);
	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	const struct {
		enum wait_view view;
		int object;
		enum trace_kind kind;
	} rows[] = {
		{VIEW_SYNC, pipes[0], TRACE_SYNC},
		{VIEW_COND, sockets[0], TRACE_COND},
		{VIEW_NET, sockets[0], TRACE_NET},
		{VIEW_NET, -1, TRACE_NET}, /* nobody asks the kernel */
		{VIEW_SEND, sockets[1], TRACE_NET},
		{VIEW_READ, sockets[0], TRACE_NET},
		{VIEW_READ, pipes[0], TRACE_SYSCALL},
		{VIEW_READ, file, TRACE_SYSCALL},
		{VIEW_READ, -1, TRACE_SYSCALL},
		{VIEW_READ, 1 << 20, TRACE_SYSCALL},
		{VIEW_WRITE, sockets[1], TRACE_NET},
		{VIEW_WRITE, pipes[1], TRACE_SYSCALL},
		{VIEW_SELECT, sockets[0], TRACE_SELECT},
		{VIEW_SLEEP, 0, TRACE_SLEEP},
		{VIEW_SYSCALL, sockets[0], TRACE_SYSCALL},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		if (trace_kind_of(rows[i].view, (uintptr_t)rows[i].object) != rows[i].kind)
			fail_msg("row %zu", i);
	assert_int_equal(trace_open(), 0);
	wait_from_to(VIEW_READ, (uintptr_t)sockets[0], 1, 100000);
	assert_int_equal(newest()->kind, TRACE_NET);
	wait_from_to(VIEW_READ, (uintptr_t)pipes[0], 1, 100000);
	assert_int_equal(newest()->kind, TRACE_SYSCALL);
	for (int i = 0; i < 2; i++)
		close(pipes[i]), close(sockets[i]);
	close(file);
}

/* --- who woke whom ------------------------------------------------------------------------------------ */

enum { LOCK = 0x7f0012345678 };

static void wake(int thread, uintptr_t object, uint64_t ns)
{
	be(thread);
	now_ns = ns;
	trace_wakes(object, 0x9000, at(33));
}

/* Was the wait of thread 1 for this object, from 100000 to 200000, ended by thread 2? */
static bool is_woken(enum wait_view view, uintptr_t object)
{
	be(1);
	wait_from_to(view, object, 100000, 200000);
	const struct trace_event *e = newest();
	if (!e->woken_ns) {
		assert_true(!e->woken_by && !e->other_tid);
		return false;
	}
	assert_int_equal(e->other_tid, 102);
	assert_int_equal(e->woken_by->pc[0], 0x9000);
	assert_int_equal(e->woken_by->pc[1], 0x400000 + 33);
	assert_in_range(e->woken_ns, e->start_ns, e->end_ns);
	return true;
}

static void test_a_wait_is_ended_by_the_last_that_let_go_while_it_lasted(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	assert_false(is_woken(VIEW_SYNC, LOCK)); /* nobody did */
	wake(2, LOCK, 150000);
	assert_int_equal(count_events(), 1); /* that is no event */
	assert_true(is_woken(VIEW_SYNC, LOCK));
	assert_int_equal(newest()->woken_ns, 150000);
	assert_true(is_woken(VIEW_COND, LOCK));
	wake(2, LOCK, 180000);
	assert_true(is_woken(VIEW_SYNC, LOCK));
	assert_int_equal(newest()->woken_ns, 180000);
	wake(2, LOCK, 100000);
	assert_true(is_woken(VIEW_SYNC, LOCK));
	wake(2, LOCK, 200000);
	assert_true(is_woken(VIEW_SYNC, LOCK));
	wake(2, LOCK, 50);
	be(1);
	wait_from_to(VIEW_SYNC, LOCK, 0, 100); /* one from before the trace */
	assert_int_equal(newest()->woken_ns, 50);
}

/* The n-th other object that has the same place. */
static uintptr_t like(uintptr_t object)
{
	uintptr_t other = object;
	do
		other += 40;
	while ((uint64_t)other * 0x9e3779b97f4a7c15u >> 54 != (uint64_t)object * 0x9e3779b97f4a7c15u >> 54);
	return other;
}

static void test_a_wait_is_not_ended_by_itself_nor_out_of_time_nor_by_another_object(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	wake(1, LOCK, 150000); /* itself: it had it before */
	assert_false(is_woken(VIEW_SYNC, LOCK));
	wake(2, LOCK, 99999);
	assert_false(is_woken(VIEW_SYNC, LOCK));
	wake(2, LOCK, 200001);
	assert_false(is_woken(VIEW_SYNC, LOCK));
	wake(2, LOCK, 150000);
	assert_true(is_woken(VIEW_SYNC, LOCK));
	assert_false(is_woken(VIEW_SYNC, LOCK + 8));
	assert_false(is_woken(VIEW_SYNC, like(LOCK)));
	assert_false(is_woken(VIEW_SYNC, 0));
	assert_false(is_woken(VIEW_NET, LOCK)); /* a descriptor of that number */
	assert_false(is_woken(VIEW_SYSCALL, LOCK));
	wake(2, like(LOCK), 160000); /* takes its place */
	assert_false(is_woken(VIEW_SYNC, LOCK));
	assert_true(is_woken(VIEW_SYNC, like(LOCK)));
	trace_close();
	trace_free();
	assert_int_equal(trace_open(), 0); /* of the trace before nothing is left */
	assert_false(is_woken(VIEW_SYNC, like(LOCK)));
}

static void test_who_wakes_is_made_known(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	self.thread = NULL;
	errno = ENOENT;
	trace_wakes(LOCK, 0x9000, at(33));
	assert_int_equal(errno, ENOENT);
	assert_int_equal(made, 1);
	assert_false(self.busy);
}

static uint32_t stop; /* atomic */
static void *wake_on_and_on(void *arg)
{
	struct thread *t = self.thread = arg;
	uintptr_t n = (uintptr_t)shared_own(&t->tid);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		trace_wakes(LOCK + (n & 1 ? 0 : like(LOCK) - LOCK), 0x9000 + n, (struct unwind_frame){.pc = n * 3});
	return NULL;
}

/* How many of the waits of this trace have somebody who woke them; each of these must be whole. */
static size_t whole_wakers(void)
{
	size_t woken = 0;
	for (size_t i = 0; i < count_events(); i += 17) {
		const struct trace_event *e = event(i);
		if (!e->woken_ns)
			continue;
		woken++;
		uintptr_t n = (uintptr_t)e->other_tid;
		assert_true(n & 1);
		assert_int_equal(e->woken_by->pc[0], 0x9000 + n);
		assert_int_equal(e->woken_by->pc[1], n * 3);
	}
	return woken;
}

/* Several write one place at once: what is read is one of them. The waits are over in some milliseconds: on a busy
 * machine the others may not have run meanwhile, then it is looked at again. */
static void test_no_waker_is_torn(void **state)
{
	enum { WAKERS = 3, LOOKS = 500 };
	pthread_t t[WAKERS];
	size_t woken = 0;
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* the copy is checked afterwards: a race by its rules */
#endif
	ticks = true;
	stop = 0;
	for (int i = 0; i < WAKERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, wake_on_and_on, &records[1 + i]), 0);
	for (int look = 0; look < LOOKS && woken <= 10; look++) {
		assert_int_equal(trace_open(), 0);
		for (int i = 0; i < 200000; i++)
			wait_from_to(VIEW_SYNC, LOCK, 1, UINT64_MAX);
		assert_true(trace_close());
		woken += whole_wakers();
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < WAKERS; i++)
		pthread_join(t[i], NULL);
	assert_true(woken > 10);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_a_wait_is_written_with_all_that_is_known_of_it),
		TEST(test_births_and_ends_say_who_and_when),
		TEST(test_samples_of_memory_and_of_time_are_written),
		TEST(test_of_a_line_of_the_log_the_end_is_kept),
		TEST(test_a_thread_that_is_busy_leaves_the_trace_alone),
		TEST(test_without_a_trace_nothing_is_written),
		TEST(test_what_took_no_time_was_no_wait),
		TEST(test_a_wait_is_of_the_kind_of_its_view_and_descriptors_are_looked_at),
		TEST(test_a_wait_is_ended_by_the_last_that_let_go_while_it_lasted),
		TEST(test_a_wait_is_not_ended_by_itself_nor_out_of_time_nor_by_another_object),
		TEST(test_who_wakes_is_made_known),
		TEST(test_no_waker_is_torn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
