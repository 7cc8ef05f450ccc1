/* test_trace_go.c - what comes out in a trace for go tool trace.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/trace/go.c encoder/trace/go_logs.c encoder/trace/go_writer.c
 * links: encoder/trace/order.c encoder/trace/frames.c encoder/names/tails.c encoder/names/ways.c encoder/bytes/intern.c
 * links: encoder/names/names.c encoder/names/cache.c encoder/names/symbolizer.c encoder/names/container.c
 * links: encoder/names/site.c
 * links: encoder/names/jit.c shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c
 * links: encoder/names/elf_symbols.c
 * links: encoder/names/maps.c encoder/bytes/sort.c encoder/bytes/out.c encoder/bytes/utf8.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/trace/go_reader_made.h"

/* ---- tests ---- */

static struct made *two_threads(void)
{
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){100, "main", true, false, false});
	made_add_thread(m, (struct trace_thread){101, "worker", true, false, false});
	return m;
}

static struct trace_event made_wait(struct made *m, int tid, unsigned kind, uint64_t from_ms, uint64_t to_ms)
{
	return (struct trace_event){.tid = tid,
	                            .kind = (uint8_t)kind,
	                            .call = (uint8_t)kind,
	                            .stack = m->stacks[kind],
	                            .start_ns = BEGIN_NS + from_ms * MS,
	                            .end_ns = BEGIN_NS + to_ms * MS};
}

static void test_waits_of_each_kind_come_to_their_totals(void **state)
{
	(void)state;
	struct made *m = two_threads();
	made_add(m, made_wait(m, 100, TRACE_SYNC, 1, 3));
	made_add(m, made_wait(m, 100, TRACE_COND, 5, 8));
	made_add(m, made_wait(m, 100, TRACE_SELECT, 10, 15));
	made_add(m, made_wait(m, 100, TRACE_NET, 20, 27));
	made_add(m, made_wait(m, 100, TRACE_SYSCALL, 30, 41));
	made_add(m, made_wait(m, 100, TRACE_SLEEP, 50, 63));
	struct file *f = encode(m);
	assert_int_equal(f->sync_ns, (2 + 3 + 5) * MS);
	assert_int_equal(f->net_ns, 7 * MS);
	assert_int_equal(f->syscall_ns, 11 * MS);
	assert_int_equal(f->sched_ns, 0);
	drop(f);
	made_free(m);
}

static void test_a_wait_ended_by_another_thread_has_its_latency(void **state)
{
	(void)state;
	struct made *m = two_threads();
	struct trace_event *e = made_add(m, made_wait(m, 101, TRACE_SYNC, 30, 40));
	e->object = 0x55d0, e->woken_ns = BEGIN_NS + 38 * MS, e->other_tid = 100, e->woken_by = m->stacks[5];
	struct file *f = encode(m);
	assert_int_equal(f->remote, 1);
	assert_int_equal(f->sync_ns, 8 * MS);
	assert_int_equal(f->sched_ns, 2 * MS);
	assert_string_equal(f->last_category, "contention");
	assert_string_equal(f->last_log, "pthread_mutex_lock 0x55d0 10.000 ms, let go by main [100]");
	drop(f);
	e->woken_ns = BEGIN_NS + 30 * MS; /* not after it began */
	f = encode(m);
	assert_int_equal(f->remote, 0);
	assert_int_equal(f->sync_ns, 10 * MS);
	drop(f);
	e->woken_ns = BEGIN_NS + 38 * MS;
	made_add(m, made_wait(m, 100, TRACE_NET, 37, 38)); /* the waker itself is not at work before */
	f = encode(m);
	assert_int_equal(f->remote, 0);
	drop(f);
	made_free(m);
}

static void test_waits_are_clipped_to_the_trace(void **state)
{
	(void)state;
	struct made *m = two_threads();
	struct trace_event e = made_wait(m, 100, TRACE_COND, 0, 20);
	e.start_ns -= 500 * MS;
	made_add(m, e);
	e = made_wait(m, 100, TRACE_COND, 90, 0);
	e.end_ns = UINT64_MAX; /* it lasts: Go counts none such */
	made_add(m, e);
	struct file *f = encode(m);
	assert_int_equal(f->sync_ns, 20 * MS);
	assert_int_equal(g_of(f, 100)->state, WAITING);
	assert_int_equal(g_of(f, 101)->state, RUNNABLE); /* stopped with the trace */
	drop(f);
	made_free(m);
}

static void test_a_wait_inside_another_is_left_out(void **state)
{
	(void)state;
	struct made *m = two_threads();
	made_add(m, made_wait(m, 100, TRACE_SLEEP, 12, 14));
	made_add(m, made_wait(m, 100, TRACE_NET, 10, 20));
	made_add(m, made_wait(m, 100, TRACE_SYNC, 18, 25)); /* overlaps: begins at 20 */
	struct file *f = encode(m);
	assert_int_equal(f->net_ns, 10 * MS);
	assert_int_equal(f->sync_ns, 5 * MS);
	drop(f);
	made_free(m);
}

static void test_a_thread_is_created_by_its_creator_and_a_reused_tid_is_another(void **state)
{
	(void)state;
	struct made *m = two_threads();
	made_add_thread(m, (struct trace_thread){.tid = 102, .name = "late"});
	for (uint64_t i = 0; i < 2; i++) {
		struct trace_event e = made_wait(m, 102, TRACE_BORN, 10 + 20 * i, 10 + 20 * i);
		e.stack = m->stacks[0], e.created_ns = e.start_ns - 3 * MS, e.creator_tid = 100;
		made_add(m, e);
		e = made_wait(m, 102, TRACE_ENDED, 15 + 20 * i, 15 + 20 * i);
		e.stack = NULL;
		made_add(m, e);
	}
	struct file *f = encode(m);
	assert_int_equal(g_of(f, 102)->state, DEAD);
	assert_int_equal(g_of(f, 103)->state, DEAD); /* the next free number */
	assert_int_equal(f->sched_ns, 6 * MS);
	assert_int_equal(f->ps[1].at[2].type, 13); /* on main's P */
	drop(f);
	made_free(m);
}

static void test_heap_logs_and_comments_are_told(void **state)
{
	(void)state;
	static const char *comments[] = {"17 events were lost"};
	struct made *m = two_threads();
	m->snapshot.in_use_bytes = 1000;
	m->snapshot.comment_count = 1, m->snapshot.comments = comments;
	struct trace_event e = made_wait(m, 100, TRACE_HEAP, 20, 20);
	e.stack = NULL, e.bytes = 524288;
	made_add(m, e);
	e.tid = 101, e.start_ns = e.end_ns = BEGIN_NS + 10 * MS, e.bytes = -5000; /* earlier */
	made_add(m, e);
	e = (struct trace_event){.tid = 101, .kind = TRACE_LOG, .start_ns = BEGIN_NS + 10 * MS, .text = "libfoo.so"};
	made_add(m, e);
	e = made_wait(m, 101, TRACE_NET, 5, 12); /* only who is at work can log: told when the wait begins */
	made_add(m, e);
	struct file *f = encode(m);
	assert_int_equal(f->heap, 524288);
	assert_int_equal(f->logs, 2);
	assert_string_equal(f->last_category, "pprofshim");
	assert_string_equal(f->last_log, "17 events were lost");
	drop(f);
	made_free(m);
}

static void test_no_threads_and_no_events_are_a_trace(void **state)
{
	(void)state;
	struct made *m = made_new(0);
	drop(encode(m));
	made_add_thread(m, (struct trace_thread){.tid = 7, .name = "", .was_there = true, .was_blocked = true});
	struct file *f = encode(m);
	assert_int_equal(g_of(f, 7)->state, WAITING);
	drop(f);
	made_free(m);
}

static void test_whatever_comes_in_the_file_is_valid(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 1500; seed++) {
		struct made *m = made_random(seed);
		drop(encode(m));
		made_free(m);
	}
	names_start(&(struct encoder_options){.symbolizer_off = true, .memory_limit_bytes = 64 << 20});
}

static void test_without_memory_the_trace_says_so(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct made *m = made_random(777);
		int failures = 0, error = -1;
		for (size_t room = 0; error && room < 64 << 20; room += 1 << 14) {
			struct region r = {0};
			struct out o;
			out_init(&o, &r);
			arena_set_limit(room);
			error = trace_encode_go(&r, &o, &m->snapshot, NULL);
			if (error && error != -ENOMEM)
				_exit(2);
			failures += error == -ENOMEM;
			region_release(&r);
			names_start(&(struct encoder_options){.symbolizer_off = true, .memory_limit_bytes = 64 << 20});
		}
		_exit(error == 0 && failures > 2 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_of_each_kind_come_to_their_totals),
		cmocka_unit_test(test_a_wait_ended_by_another_thread_has_its_latency),
		cmocka_unit_test(test_waits_are_clipped_to_the_trace),
		cmocka_unit_test(test_a_wait_inside_another_is_left_out),
		cmocka_unit_test(test_a_thread_is_created_by_its_creator_and_a_reused_tid_is_another),
		cmocka_unit_test(test_heap_logs_and_comments_are_told),
		cmocka_unit_test(test_no_threads_and_no_events_are_a_trace),
		cmocka_unit_test(test_whatever_comes_in_the_file_is_valid),
		cmocka_unit_test(test_without_memory_the_trace_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
