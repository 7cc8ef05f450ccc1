/* test_rows.c - the rows of a profile, of one snapshot or the difference of two; the sort.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/profile/rows.c encoder/bytes/intern.c encoder/bytes/sort.c shim/base/text.c shim/base/arena.c
 * links: shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encoder/profile/rows.h"
#include "encoder/bytes/sort.h"
#include "test/unit/support/count.h"

static struct stack stacks[4];

static struct heap_row heap_row(int stack, struct heap_values raw, uint64_t factor)
{
	return (struct heap_row){.stack = &stacks[stack],
	                         .class_bytes = 16,
	                         .raw = raw,
	                         .scaled = {raw.alloc_objects * factor, raw.alloc_bytes * factor,
	                                    raw.free_objects * factor, raw.free_bytes * factor}};
}

static struct profile_snapshot heap_of(struct heap_row *rows, size_t count)
{
	return (struct profile_snapshot){.kind = PROFILE_HEAP,
	                                 .heap = {.time_ns = 77, .rate_bytes = 4096, .count = count, .rows = rows}};
}

static void expect_columns(const int64_t got[4], int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t want[4] = {a, b, c, d};
	assert_memory_equal(got, want, sizeof want);
}

static void test_heap_rows_hold_allocations_and_what_is_left_of_them(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct heap_row h[] = {heap_row(0, (struct heap_values){10, 160, 4, 64}, 3),
	                       heap_row(1, (struct heap_values){5, 80, 5, 80}, 2)};
	struct profile_snapshot s = heap_of(h, 2);
	assert_int_equal(rows_make(&r, &rows, &s, NULL), 0);
	assert_int_equal(rows.count, 2);
	assert_int_equal(rows.time_ns, 77);
	assert_int_equal(rows.period, 4096);
	assert_ptr_equal(rows.at[0].stack, &stacks[0]);
	assert_int_equal(rows.at[0].class_bytes, 16);
	expect_columns(rows.at[0].raw, 10, 160, 6, 96);
	expect_columns(rows.at[0].value, 30, 480, 18, 288);
	expect_columns(rows.at[1].raw, 5, 80, 0, 0);
	expect_columns(rows.at[1].value, 10, 160, 0, 0);
	region_release(&r);
}

static void test_a_difference_leaves_out_what_did_not_change_and_may_be_negative(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct heap_row before[] = {heap_row(0, (struct heap_values){10, 160, 4, 64}, 3),
	                            heap_row(1, (struct heap_values){5, 80, 0, 0}, 2)};
	struct heap_row now[] = {heap_row(0, (struct heap_values){10, 160, 4, 64}, 3),
	                         heap_row(1, (struct heap_values){6, 96, 4, 64}, 2),
	                         heap_row(2, (struct heap_values){1, 16, 0, 0}, 9)};
	struct profile_snapshot b = heap_of(before, 2), n = heap_of(now, 3);
	assert_int_equal(rows_make(&r, &rows, &n, &b), 0);
	assert_int_equal(rows.count, 2);
	assert_ptr_equal(rows.at[0].stack, &stacks[1]);
	expect_columns(rows.at[0].raw, 1, 16, -3, -48);
	expect_columns(rows.at[0].value, 2, 32, -6, -96);
	assert_ptr_equal(rows.at[1].stack, &stacks[2]);
	expect_columns(rows.at[1].value, 9, 144, 9, 144);
	assert_int_equal(rows_make(&r, &rows, &n, &n), 0);
	assert_int_equal(rows.count, 0);
	region_release(&r);
}

static struct profile_snapshot threads_of(struct thread_row *rows, size_t count)
{
	return (struct profile_snapshot){.kind = PROFILE_THREADCREATE,
	                                 .threads = {.time_ns = 78, .count = count, .rows = rows}};
}

static void test_thread_rows_are_by_name_and_their_differences_by_stack(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct thread_row before[] = {{&stacks[0], "a", 2}, {&stacks[0], NULL, 1}, {&stacks[1], NULL, 4}};
	struct thread_row now[] = {{&stacks[2], "new", 1},
	                           {&stacks[0], "b", 2},
	                           {&stacks[0], "a", 1},
	                           {&stacks[0], NULL, 3},
	                           {&stacks[1], "x", 4}};
	struct profile_snapshot b = threads_of(before, COUNT(before)), n = threads_of(now, COUNT(now));
	assert_int_equal(rows_make(&r, &rows, &n, NULL), 0);
	assert_int_equal(rows.count, 5);
	assert_int_equal(rows.period, 1);
	assert_string_equal(rows.at[1].thread, "b");
	assert_int_equal(rows.at[1].value[0], 2);
	assert_null(rows.at[3].thread);
	assert_int_equal(rows.at[3].value[0], 3);
	assert_int_equal(rows_make(&r, &rows, &n, &b), 0);
	assert_int_equal(rows.count, 2);
	assert_ptr_equal(rows.at[0].stack, &stacks[2]);
	assert_int_equal(rows.at[0].value[0], 1);
	assert_null(rows.at[0].thread);
	assert_ptr_equal(rows.at[1].stack, &stacks[0]);
	assert_int_equal(rows.at[1].value[0], 3);
	assert_null(rows.at[1].thread);
	region_release(&r);
}

/* Three stacks, each in two copies, as two dumps have them. */
static struct {
	struct stack head;
	uintptr_t pc[2];
} dumped[2][3];

static void make_dumped(void)
{
	for (int copy = 0; copy < 2; copy++)
		for (int i = 0; i < 3; i++) {
			dumped[copy][i].head = (struct stack){.hash = (uint32_t)copy, .depth = 2, .place = i == 2};
			dumped[copy][i].pc[0] = 0x100;
			dumped[copy][i].pc[1] = i == 0 ? 0x200 : 0x300;
		}
}

static struct dump_thread dumped_thread(int copy, int i)
{
	return (struct dump_thread){.tid = 1, .name = "t", .state = "running", .stack = &dumped[copy][i].head};
}

static struct profile_snapshot dump_of(struct dump_thread *threads, size_t count)
{
	return (struct profile_snapshot){
		.kind = PROFILE_GOROUTINE, .mono_ns = 5, .dump = {.time_ns = 79, .count = count, .threads = threads}};
}

static void test_threads_with_the_same_stack_are_one_row(void **state)
{
	(void)state;
	static struct stack no_frames;
	struct region r = {0};
	struct rows rows;
	make_dumped();
	struct dump_thread t[] = {dumped_thread(0, 1),
	                          dumped_thread(1, 0),
	                          dumped_thread(1, 1),
	                          {.tid = 2, .name = "gone"},
	                          dumped_thread(0, 2),
	                          dumped_thread(1, 1),
	                          {.tid = 3, .name = "none", .stack = &no_frames}};
	struct profile_snapshot s = dump_of(t, COUNT(t));
	assert_int_equal(rows_make(&r, &rows, &s, NULL), 0);
	assert_int_equal(rows.time_ns, 79);
	assert_int_equal(rows.period, 1);
	assert_int_equal(rows.duration_ns, 0);
	assert_int_equal(rows.unreached, 2);
	assert_int_equal(rows.count, 3);
	assert_ptr_equal(rows.at[0].stack, &dumped[0][1].head);
	expect_columns(rows.at[0].value, 3, 0, 0, 0);
	assert_ptr_equal(rows.at[1].stack, &dumped[1][0].head);
	expect_columns(rows.at[1].value, 1, 0, 0, 0);
	assert_ptr_equal(rows.at[2].stack, &dumped[0][2].head); /* the same addresses in another object */
	expect_columns(rows.at[2].value, 1, 0, 0, 0);
	assert_null(rows.at[0].thread);
	region_release(&r);
}

static void test_a_difference_of_dumps_has_who_came_and_who_went(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	make_dumped();
	struct dump_thread before[] = {dumped_thread(0, 0), dumped_thread(0, 0), dumped_thread(0, 1), {.tid = 9}};
	struct dump_thread now[] = {dumped_thread(1, 1), dumped_thread(1, 2), dumped_thread(1, 2)};
	struct profile_snapshot b = dump_of(before, COUNT(before)), n = dump_of(now, COUNT(now));
	n.mono_ns = 1005;
	assert_int_equal(rows_make(&r, &rows, &n, &b), 0);
	assert_int_equal(rows.duration_ns, 1000);
	assert_int_equal(rows.unreached, 0);
	assert_int_equal(rows.count, 2);
	assert_ptr_equal(rows.at[0].stack, &dumped[1][2].head);
	assert_int_equal(rows.at[0].value[0], 2);
	assert_ptr_equal(rows.at[1].stack, &dumped[0][0].head);
	assert_int_equal(rows.at[1].value[0], -2);
	assert_int_equal(rows_make(&r, &rows, &n, &n), 0);
	assert_int_equal(rows.count, 0);
	region_release(&r);
}

static void test_cpu_rows_are_as_they_were_sampled(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct cpu_row c[] = {{&stacks[0], "a", 7, 3, 30}, {&stacks[0], "a", 8, 1, 10}, {&stacks[1], "", 7, 0, 0}};
	struct profile_snapshot s = {.kind = PROFILE_CPU,
	                             .mono_ns = 4,
	                             .cpu = {.time_ns = 80, .duration_ns = 90, .period_ns = 10, .count = 3, .rows = c}};
	assert_int_equal(rows_make(&r, &rows, &s, NULL), 0);
	assert_int_equal(rows.time_ns, 80);
	assert_int_equal(rows.duration_ns, 90);
	assert_int_equal(rows.period, 10);
	assert_int_equal(rows.count, 2);
	expect_columns(rows.at[0].value, 3, 30, 0, 0);
	assert_string_equal(rows.at[0].thread, "a");
	assert_int_equal(rows.at[0].tid, 7);
	assert_int_equal(rows.at[1].tid, 8);
	region_release(&r);
}

static struct profile_snapshot contention_of(struct contention_row *rows, size_t count)
{
	return (struct profile_snapshot){
		.kind = PROFILE_BLOCK, .mono_ns = 4, .contention = {.time_ns = 81, .count = count, .rows = rows}};
}

static void test_contention_rows_are_counts_and_delays_and_grow(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct contention_row before[] = {{&stacks[0], 3, 300}, {&stacks[1], 4, 400}};
	struct contention_row now[] = {
		{&stacks[0], 3, 300}, {&stacks[1], 4, 450}, {&stacks[2], 5, 500}, {&stacks[3], 0, 0}};
	struct profile_snapshot b = contention_of(before, COUNT(before)), n = contention_of(now, COUNT(now));
	n.mono_ns = 1004;
	for (enum profile_kind kind = PROFILE_BLOCK; kind <= PROFILE_MUTEX; kind++) {
		b.kind = n.kind = kind;
		assert_int_equal(rows_make(&r, &rows, &n, NULL), 0);
		assert_int_equal(rows.time_ns, 81);
		assert_int_equal(rows.duration_ns, 0);
		assert_int_equal(rows.period, 1);
		assert_int_equal(rows.count, 3);
		expect_columns(rows.at[0].value, 3, 300, 0, 0);
		assert_null(rows.at[0].thread);
		assert_int_equal(rows_make(&r, &rows, &n, &b), 0);
		assert_int_equal(rows.duration_ns, 1000);
		assert_int_equal(rows.count, 2);
		assert_ptr_equal(rows.at[0].stack, &stacks[1]);
		expect_columns(rows.at[0].value, 0, 50, 0, 0);
		assert_ptr_equal(rows.at[1].stack, &stacks[2]);
		expect_columns(rows.at[1].value, 5, 500, 0, 0);
		assert_int_equal(rows_make(&r, &rows, &n, &n), 0);
		assert_int_equal(rows.count, 0);
	}
	region_release(&r);
}

static void test_without_memory_there_are_no_rows(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	make_dumped();
	struct dump_thread t[] = {dumped_thread(0, 0)};
	struct profile_snapshot s[] = {
		dump_of(t, 1), heap_of(NULL, 0), threads_of(NULL, 0), contention_of(NULL, 0), {.kind = PROFILE_CPU}};
	arena_set_limit(0);
	for (size_t i = 0; i < COUNT(s); i++)
		assert_int_equal(rows_make(&r, &rows, &s[i], NULL), -ENOMEM);
	arena_set_limit(64 << 20);
}

static void test_an_empty_snapshot_has_no_rows(void **state)
{
	(void)state;
	struct region r = {0};
	struct rows rows;
	struct profile_snapshot h = heap_of(NULL, 0), t = threads_of(NULL, 0);
	assert_int_equal(rows_make(&r, &rows, &h, &h), 0);
	assert_int_equal(rows.count, 0);
	rows_sort(&rows, PROFILE_HEAP);
	assert_int_equal(rows_make(&r, &rows, &t, NULL), 0);
	assert_int_equal(rows.count, 0);
	struct profile_snapshot d = dump_of(NULL, 0), c = {.kind = PROFILE_CPU};
	assert_int_equal(rows_make(&r, &rows, &d, &d), 0);
	assert_int_equal(rows.count, 0);
	assert_int_equal(rows_make(&r, &rows, &c, NULL), 0);
	assert_int_equal(rows.count, 0);
	struct profile_snapshot w = contention_of(NULL, 0);
	assert_int_equal(rows_make(&r, &rows, &w, &w), 0);
	assert_int_equal(rows.count, 0);
	region_release(&r);
}

static void test_rows_are_sorted_by_what_their_kind_is_about(void **state)
{
	static const struct {
		enum profile_kind kind;
		unsigned column;
	} kinds[] = {{PROFILE_HEAP, 3},      {PROFILE_ALLOCS, 1}, {PROFILE_THREADCREATE, 0},
	             {PROFILE_GOROUTINE, 0}, {PROFILE_BLOCK, 1},  {PROFILE_MUTEX, 1}};
	enum { N = 500 };
	(void)state;
	uint64_t x = 88172645463325252u;
	for (size_t k = 0; k < COUNT(kinds); k++) {
		static struct row list[N];
		int64_t sum = 0, sum_after = 0;
		for (size_t i = 0; i < N; i++)
			for (unsigned c = 0; c < 4; c++) {
				x ^= x << 13, x ^= x >> 7, x ^= x << 17;
				list[i].value[c] = (int64_t)(x % 200) - 50;
				sum += c == kinds[k].column ? list[i].value[c] : 0;
			}
		struct rows rows = {.count = N, .at = list};
		rows_sort(&rows, kinds[k].kind);
		for (size_t i = 0; i < N; i++) {
			sum_after += list[i].value[kinds[k].column];
			if (i)
				assert_true(list[i - 1].value[kinds[k].column] >= list[i].value[kinds[k].column]);
		}
		assert_int_equal(sum, sum_after);
	}
}

static bool less(const void *a, const void *b)
{
	return *(const uint16_t *)a < *(const uint16_t *)b;
}

static void test_every_length_is_sorted_and_no_item_is_lost(void **state)
{
	(void)state;
	uint64_t x = 1234567;
	for (size_t n = 0; n < 200; n++) {
		struct {
			uint16_t key;
			char more[SORT_ITEM_MAX - 2];
		} item[200];
		int seen[200] = {0};
		assert_int_equal(sizeof item[0], SORT_ITEM_MAX);
		for (size_t i = 0; i < n; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			item[i].key = n % 3 ? (uint16_t)x : (uint16_t)(n - i);
			memset(item[i].more, (int)i, sizeof item[i].more);
		}
		sort_items(item, n, sizeof item[0], less);
		for (size_t i = 0; i < n; i++) {
			assert_true(i == 0 || item[i - 1].key <= item[i].key);
			assert_int_equal(item[i].more[0], item[i].more[sizeof item[i].more - 1]);
			seen[(unsigned char)item[i].more[0]]++;
		}
		for (size_t i = 0; i < n; i++)
			assert_int_equal(seen[i], 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_rows_hold_allocations_and_what_is_left_of_them),
		cmocka_unit_test(test_a_difference_leaves_out_what_did_not_change_and_may_be_negative),
		cmocka_unit_test(test_thread_rows_are_by_name_and_their_differences_by_stack),
		cmocka_unit_test(test_threads_with_the_same_stack_are_one_row),
		cmocka_unit_test(test_a_difference_of_dumps_has_who_came_and_who_went),
		cmocka_unit_test(test_cpu_rows_are_as_they_were_sampled),
		cmocka_unit_test(test_contention_rows_are_counts_and_delays_and_grow),
		cmocka_unit_test(test_without_memory_there_are_no_rows),
		cmocka_unit_test(test_an_empty_snapshot_has_no_rows),
		cmocka_unit_test(test_rows_are_sorted_by_what_their_kind_is_about),
		cmocka_unit_test(test_every_length_is_sorted_and_no_item_is_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
