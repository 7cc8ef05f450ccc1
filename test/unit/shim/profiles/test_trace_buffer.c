/* test_trace_buffer.c - the buffer of a trace: many writers, a full one, its memory, its end.
 *
 * Runs in: its own process, with threads. The clock is a number that the tests set, or one that every look at it moves
 * on; records are the tests' own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/trace_events.c shim/stack/stacks.c shim/base/losses.c shim/profiles/sampling.c
 * links: shim/base/settings.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include "test/unit/shim/profiles/trace_events_made.h"

/* --- the buffer -------------------------------------------------------------------------------------- */

enum { WRITERS = 6 };
#ifdef __SANITIZE_THREAD__
enum { EVENTS = 5000 };
#else
enum { EVENTS = 30000 };
#endif

static void *write_on_and_on(void *arg)
{
	struct thread *t = self.thread = arg;
	for (uint64_t i = 0; i < EVENTS; i++) {
		uint64_t word = (uint64_t)shared_own(&t->tid) << 32 | i;
		char text[24];
		switch (i % 3) {
		case 0: heap_event((int64_t)word); break;
		case 1: trace_waited(VIEW_SELECT, WAIT_poll, word, 0, i, at(word)); break;
		default:
			snprintf(text, sizeof text, "%llx", (unsigned long long)word);
			trace_log(TRACE_LOG_DLOPEN, text, at(i % 100));
		}
	}
	return NULL;
}

/* Is it one that a writer wrote, and which? */
static uint64_t number_of(const struct trace_event *e)
{
	uint64_t word = e->kind == TRACE_HEAP  ? (uint64_t)e->bytes
	                : e->kind == TRACE_LOG ? strtoull(e->text, NULL, 16)
	                                       : e->object;
	uint64_t n = word & 0xffffffff;
	assert_int_equal(word >> 32, e->tid);
	assert_int_equal(e->kind, n % 3 == 0 ? TRACE_HEAP : n % 3 == 1 ? TRACE_SELECT : TRACE_LOG);
	if (e->kind == TRACE_SELECT)
		assert_true(e->end_ns == n && e->stack && e->stack->pc[1] == 0x400000 + word);
	if (e->kind == TRACE_LOG)
		assert_true(e->stack && e->stack->pc[1] == 0x400000 + n % 100);
	return n;
}

/* Every event of the writers there, whole and in the order of its thread; from the first to the last that found room.
 * Returns how many; the listener's are left out. */
static size_t expect_whole(bool all)
{
	uint64_t next[COUNT(records)] = {0};
	size_t chunk_count, n = 0;
	const struct trace_chunk *c = trace_chunks(&chunk_count);
	for (size_t i = 0; i < chunk_count; i++)
		for (uint32_t k = 0; k < trace_chunk_count(&c[i]); k++) {
			const struct trace_event *e = &c[i].at[k];
			assert_true(e->tid == c[i].at[0].tid || e->tid == 7); /* each chunk is of one thread */
			if (e->tid == 7)
				continue;
			assert_int_equal(number_of(e), next[e->tid - 100]);
			next[e->tid - 100]++;
			n++;
		}
	for (int i = 1; all && i <= WRITERS; i++)
		assert_int_equal(next[i], EVENTS);
	return n;
}

static void write_by_all(pthread_t t[WRITERS])
{
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, write_on_and_on, &records[1 + i]), 0);
}

static void test_events_of_many_threads_come_out_whole_and_in_each_threads_order(void **state)
{
	pthread_t t[WRITERS];
	(void)state;
	ticks = true;
	assert_int_equal(trace_open(), 0);
	write_by_all(t);
	for (int i = 0; i < 1000; i++)
		trace_add(&(struct trace_event){.kind = TRACE_CPU, .tid = 7});
	for (int i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	assert_true(trace_close());
	assert_int_equal(trace_full_ns(), 0);
	assert_int_equal(expect_whole(true), WRITERS * EVENTS);
	assert_int_equal(count_events(), WRITERS * EVENTS + 1000);
}

static void test_a_trace_that_ends_while_threads_write_is_whole_all_the_same(void **state)
{
	pthread_t t[WRITERS];
	(void)state;
	ticks = true;
	for (int round = 0; round < 20; round++) {
		assert_int_equal(trace_open(), 0);
		write_by_all(t);
		usleep(200 * (unsigned)round);
		assert_true(trace_close());
		size_t n = count_events();
		expect_whole(false);
		usleep(500);
		assert_int_equal(count_events(), n); /* and it stays as it is */
		trace_free();
		for (int i = 0; i < WRITERS; i++)
			pthread_join(t[i], NULL);
	}
}

static void test_when_the_buffer_is_full_the_trace_ends_there(void **state)
{
	(void)state;
	settings.memory_limit = 1 << 20;
	assert_int_equal(trace_open(), 0);
	int64_t n = 0;
	for (; n < 100000 && !trace_full_ns(); n++) {
		now_ns = 2000000 + (uint64_t)n;
		be(1 + (int)(n % 3));
		heap_event(n);
	}
	assert_int_equal(trace_full_ns(), 2000000 + n - 1); /* when the first one found no room */
	size_t events = count_events();
	assert_int_equal(events, n - 1);
	assert_in_range(events * sizeof(struct trace_event), 50 << 10,
	                100 << 10); /* a tenth of the limit; the wakers have 40 KiB of it */
	now_ns = 5000000;
	for (int i = 0; i < 1000; i++) { /* nobody goes on: not with a chunk that has room, not a new one */
		be(1 + i % 5);
		heap_event(i);
		wait_from_to(VIEW_SYNC, 1, 1, 100000);
		trace_ended();
	}
	assert_int_equal(count_events(), events);
	assert_int_equal(trace_full_ns(), 2000000 + n - 1);
	size_t own = 0;
	for (; own < 100000; own++) { /* the listener has something put by */
		trace_add(&(struct trace_event){.kind = TRACE_CPU, .tid = 7});
		if (count_events() != events + own + 1)
			break;
	}
	assert_in_range(own, 31, events / 4);
	trace_add(&(struct trace_event){.kind = TRACE_CPU, .tid = 7});
	assert_int_equal(count_events(), events + own);
	assert_true(trace_close());
	trace_free();
	assert_int_equal(trace_open(), 0);
	assert_int_equal(trace_full_ns(), 0);
	assert_int_equal(count_events(), 0);
}

static void test_many_threads_that_fill_the_buffer_leave_it_whole(void **state)
{
	pthread_t t[WRITERS];
	(void)state;
	ticks = true;
	settings.memory_limit = 10 << 20;
	for (int round = 0; round < 5; round++) {
		assert_int_equal(trace_open(), 0);
		write_by_all(t);
		for (int i = 0; i < WRITERS; i++)
			pthread_join(t[i], NULL);
		assert_true(trace_close());
		assert_true(trace_full_ns() != 0);
		assert_true(expect_whole(false) > 10000);
		trace_free();
	}
}

static void test_a_chunk_of_an_older_trace_is_not_written_to(void **state)
{
	(void)state;
	assert_int_equal(trace_open(), 0);
	be(1);
	heap_event(1);
	heap_event(2);
	struct trace_chunk *old = records[1].chunk;
	assert_int_equal(shared_own(&old->count), 2);
	assert_true(trace_close());
	trace_free();
	assert_int_equal(trace_open(), 0); /* likely where the other one was */
	be(2);
	heap_event(3);
	be(1);
	heap_event(4);
	size_t chunks;
	trace_chunks(&chunks);
	assert_int_equal(chunks, 2);
	assert_int_equal(count_events(), 2);
	assert_int_equal(event(0)->tid, 102);
	assert_int_equal(event(1)->tid, 101);
	assert_true(event(1)->bytes == 4);
	trace_forget(&records[1]); /* nor one of the thread that had the record before */
	heap_event(5);
	trace_chunks(&chunks);
	assert_int_equal(chunks, 3);
}

static void test_the_buffer_is_as_large_as_may_be_and_given_back(void **state)
{
	static const struct {
		uint64_t limit;
		size_t bytes;
	} rows[] = {{1 << 20, 25 * 4096}, {8 << 20, 204 * 4096}, {64 << 20, 1638 * 4096}, {1ull << 30, 16 << 20}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t before = arena_mapped_bytes();
		settings.memory_limit = rows[i].limit;
		assert_int_equal(trace_open(), 0);
		assert_int_equal(arena_mapped_bytes() - before, rows[i].bytes);
		assert_true(trace_close());
		trace_free();
		trace_free(); /* once is enough */
		assert_int_equal(arena_mapped_bytes(), before);
	}
}

static void scarce_memory(void)
{
	settings.memory_limit = 64 << 20;
	uint64_t before = arena_mapped_bytes();
	arena_set_limit(8 << 20); /* a half is for requests and rings: 3 MiB are left */
	CHECK(trace_open() == 0);
	uint64_t got = arena_mapped_bytes() - before;
	CHECK(got >= 1 << 20 && got <= 3 << 20);
	for (int i = 0; i < 1000; i++)
		heap_event(i);
	CHECK(trace_full_ns() == 0);
	CHECK(trace_close());
	trace_free();
	arena_set_limit(0);
	CHECK(trace_open() == -ENOMEM);
	CHECK(!trace_is_on() && arena_mapped_bytes() == before);
	heap_event(1);
	trace_free();
	CHECK(arena_mapped_bytes() == before);
}

static void test_where_memory_is_scarce_the_buffer_is_smaller_or_there_is_none(void **state)
{
	(void)state;
	in_child(scarce_memory);
}

/* --- the end --------------------------------------------------------------------------------------- */

static void *end_writing_later(void *arg)
{
	usleep(30000);
	__atomic_store_n((uint32_t *)arg, 0, __ATOMIC_RELEASE);
	return NULL;
}

static void test_the_end_waits_for_whoever_writes(void **state)
{
	pthread_t t;
	(void)state;
	assert_int_equal(trace_open(), 0);
	shared_set_own(&records[5].is_tracing, 1);
	uint64_t before = os_clock_ns(CLOCK_MONOTONIC);
	assert_int_equal(pthread_create(&t, NULL, end_writing_later, &records[5].is_tracing), 0);
	assert_true(trace_close());
	assert_true(os_clock_ns(CLOCK_MONOTONIC) - before >= 25000000);
	pthread_join(t, NULL);
}

static void stopped_writer(void)
{
	uint64_t before = arena_mapped_bytes();
	CHECK(trace_open() == 0);
	uint64_t mapped = arena_mapped_bytes();
	be(5);
	heap_event(1);
	struct trace_chunk *chunk = records[5].chunk;
	shared_set_own(&records[5].is_tracing, 1); /* stopped in the middle: by a debugger, say */
	CHECK(!trace_close());
	CHECK(count_events() == 1);
	trace_free();
	trace_free();
	CHECK(arena_mapped_bytes() == before && mapped > before); /* the memory is back, the addresses are not */
	CHECK(trace_open() == -EBUSY);
	chunk->at[1] = (struct trace_event){.kind = TRACE_HEAP}; /* it goes on */
	shared_set_own(&chunk->count, 2);
	shared_set_own(&records[5].is_tracing, 0);
	for (int i = 0; i < 3; i++) {
		CHECK(trace_open() == 0 && arena_mapped_bytes() == mapped);
		heap_event(2);
		CHECK(count_events() == 1 && trace_close());
		trace_free();
		CHECK(arena_mapped_bytes() == before);
	}
}

static void test_a_buffer_is_given_back_when_a_stopped_thread_is_done_with_it(void **state)
{
	(void)state;
	in_child(stopped_writer);
}

static void forked(void)
{
	trace_fork_child(); /* no trace, but whoever began one may have been about to say so */
	uint64_t before = arena_mapped_bytes();
	waits_watch(WAITS_FOR_BLOCK, true);
	CHECK(trace_open() == 0);
	heap_event(1);
	trace_fork_child();
	CHECK(!trace_is_on() && waits_are_watched(WAITS_FOR_BLOCK));
	CHECK(arena_mapped_bytes() == before);
	heap_event(2);
	CHECK(trace_open() == 0);
	heap_event(3);
	CHECK(count_events() == 1 && trace_close());
	trace_free();
}

static void test_the_child_of_a_fork_takes_no_trace(void **state)
{
	(void)state;
	in_child(forked);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
	const struct CMUnitTest tests[] = {
		TEST(test_events_of_many_threads_come_out_whole_and_in_each_threads_order),
		TEST(test_a_trace_that_ends_while_threads_write_is_whole_all_the_same),
		TEST(test_when_the_buffer_is_full_the_trace_ends_there),
		TEST(test_many_threads_that_fill_the_buffer_leave_it_whole),
		TEST(test_a_chunk_of_an_older_trace_is_not_written_to),
		TEST(test_the_buffer_is_as_large_as_may_be_and_given_back),
		TEST(test_where_memory_is_scarce_the_buffer_is_smaller_or_there_is_none),
		TEST(test_the_end_waits_for_whoever_writes),
		TEST(test_a_buffer_is_given_back_when_a_stopped_thread_is_done_with_it),
		TEST(test_the_child_of_a_fork_takes_no_trace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
