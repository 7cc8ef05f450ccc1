/* test_trace_order.c - events of a trace, as they come, into the lives of threads.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/trace/order.c encoder/bytes/intern.c encoder/bytes/sort.c encoder/bytes/utf8.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "encoder/trace/order.h"
#include "test/unit/encoder/trace/trace_made.h"

static struct region region;

static struct trace_order order_of(const struct made *m)
{
	struct trace_order o;
	assert_int_equal(trace_order_make(&o, &region, &m->snapshot), 0);
	return o;
}

static void drop(struct made *m)
{
	region_release(&region);
	made_free(m);
}

static void add(struct made *m, int tid, unsigned kind, uint64_t from_ms, uint64_t to_ms)
{
	made_add(m, (struct trace_event){.tid = tid,
	                                 .kind = (uint8_t)kind,
	                                 .start_ns = BEGIN_NS + from_ms * MS,
	                                 .end_ns = BEGIN_NS + to_ms * MS});
}

static void test_a_thread_that_was_blocked_is_so_until_its_first_sign(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){1, "a", true, true, false});
	made_add_thread(m, (struct trace_thread){2, "b", true, true, false});
	add(m, 1, TRACE_CPU, 30, 30);
	struct trace_order o = order_of(m);
	assert_int_equal(o.count, 2);
	assert_null(o.lives[0].waits[0].event);
	assert_int_equal(o.lives[0].waits[0].end_ns, BEGIN_NS + 30 * MS);
	assert_true(o.lives[1].waits[0].end_ns == TRACE_LASTS);
	drop(m);
}

static void test_a_thread_that_ended_unseen_ended_after_its_last_sign(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){1, "a", true, false, true});
	made_add_thread(m, (struct trace_thread){2, "b", true, false, true});
	add(m, 1, TRACE_SYNC, 10, 20);
	struct trace_order o = order_of(m);
	assert_true(o.lives[0].has_ended && o.lives[1].has_ended);
	assert_int_equal(o.lives[0].end_ns, BEGIN_NS + 20 * MS);
	assert_int_equal(o.lives[1].end_ns, o.end_ns);
	drop(m);
}

static void test_who_was_at_work_is_known(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){1, "a", true, false, false});
	add(m, 1, TRACE_SYNC, 10, 20);
	add(m, 1, TRACE_ENDED, 50, 50);
	struct trace_order o = order_of(m);
	static const struct {
		uint64_t ms;
		bool at_work;
	} rows[] = {{0, false}, {5, true}, {10, true}, {11, false}, {20, false}, {21, true}, {50, true}, {51, false}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(trace_order_at_work(&o, 1, BEGIN_NS + rows[i].ms * MS) != NULL, rows[i].at_work);
	assert_null(trace_order_at_work(&o, 2, BEGIN_NS + 5 * MS));
	drop(m);
}

static void test_each_life_is_in_order_whatever_comes_in(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 3000; seed++) {
		struct made *m = made_random(seed);
		struct trace_order o = order_of(m);
		for (const struct trace_life *l = o.lives; l < o.lives + o.count; l++) {
			uint64_t now = l->start_ns;
			assert_true(l->start_ns >= o.begin_ns && l->start_ns <= l->end_ns && l->end_ns <= o.end_ns &&
			            l->name[0]);
			for (size_t i = 0; i < l->wait_count; i++) {
				assert_true(l->waits[i].start_ns >= now && l->waits[i].end_ns >= l->waits[i].start_ns);
				assert_true(
					l->waits[i].end_ns <= l->end_ns ||
					(l->waits[i].end_ns == TRACE_LASTS && i + 1 == l->wait_count && !l->has_ended));
				now = l->waits[i].end_ns;
			}
			now = l->start_ns;
			for (size_t i = 0; i < l->point_count; now = l->points[i++].start_ns)
				assert_true(l->points[i].start_ns >= now && l->points[i].start_ns <= l->end_ns);
		}
		drop(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thread_that_was_blocked_is_so_until_its_first_sign),
		cmocka_unit_test(test_a_thread_that_ended_unseen_ended_after_its_last_sign),
		cmocka_unit_test(test_who_was_at_work_is_known),
		cmocka_unit_test(test_each_life_is_in_order_whatever_comes_in),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
