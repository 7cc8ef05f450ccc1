/* test_heap.c - sampled blocks become counters; the unwinder is a stub that hands out the stacks a test wants.
 *
 * Runs in: its own process, with threads. Counters are never reset, so each test uses a stack of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/heap.c shim/stack/here.c shim/profiles/live.c shim/stack/stacks.c shim/profiles/sampling.c
 * links: shim/base/losses.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/places.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/profiles/heap.h"
#include "shim/listener/listener.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/pace.h"
#include "shim/base/random.h"
#include "shim/profiles/sampling.h"
#include "shim/stack/here.h"
#include "shim/stack/stacks.h"
#include "shim/profiles/trace_events.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

enum { RATE = 524288, PAGE = 4096 };

/* --- stubs ------------------------------------------------------------------------------------- */

shared_bool listener_pending;
static int listener_starts;

void listener_start_pending(void)
{
	shared_set_own(&listener_pending, false);
	listener_starts++;
}

shared_u32 waits_watchers; /* waits.c's */

static size_t turns; /* of others */
static bool is_unwanted;
bool pace(void) /* pace.c's */
{
	turns++;
	return is_unwanted;
}

static int64_t traced_bytes;
static int traced;
void trace_heap(int64_t bytes) /* trace_events.c's */
{
	traced_bytes += bytes;
	traced++;
}

/* The stack is the start's pc, then its sp, fp times. */
size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *stack, uintptr_t *pc, size_t max,
                   enum stack_cut *cut)
{
	(void)stack;
	*cut = CUT_NOT;
	size_t n = 0;
	pc[n++] = start.pc;
	while (n < max && n <= start.fp)
		pc[n++] = start.sp;
	return n;
}

static struct unwind_frame from(uintptr_t site)
{
	return (struct unwind_frame){.pc = 0x400000 + site, .sp = 0x500000, .fp = 2};
}

/* --- helpers ----------------------------------------------------------------------------------- */

static void *block(uintptr_t n)
{
	return (void *)((1000 + n) * PAGE);
}

static struct heap_snapshot snap(struct region *r)
{
	struct heap_snapshot s;
	assert_int_equal(snapshot_heap(r, &s), 0);
	return s;
}

static const struct heap_row *row_of(const struct heap_snapshot *s, uintptr_t site, uint64_t class_bytes)
{
	const struct heap_row *found = NULL;
	for (size_t i = 0; i < s->count; i++)
		if (s->rows[i].stack->pc[0] == 0x400000 + site && s->rows[i].class_bytes == class_bytes) {
			assert_null(found);
			found = &s->rows[i];
		}
	return found;
}

static void expect_raw(uintptr_t site, uint64_t class_bytes, struct heap_values want)
{
	struct region r = {0};
	struct heap_snapshot s = snap(&r);
	const struct heap_row *row = row_of(&s, site, class_bytes);
	assert_non_null(row);
	assert_int_equal(row->raw.alloc_objects, want.alloc_objects);
	assert_int_equal(row->raw.alloc_bytes, want.alloc_bytes);
	assert_int_equal(row->raw.free_objects, want.free_objects);
	assert_int_equal(row->raw.free_bytes, want.free_bytes);
	region_release(&r);
}

static int start(void **state)
{
	(void)state;
	random_start(1);
	sampling_start(RATE);
	stack_here_start(8);
	return live_start(true, RATE, 64 << 20);
}

/* --- tests ------------------------------------------------------------------------------------- */

static void test_allocations_and_frees_are_counted_at_the_allocating_stack(void **state)
{
	(void)state;
	heap_on_alloc(block(1), 100, from(1));
	heap_on_alloc(block(2), 98, from(1));
	heap_on_alloc(block(3), 5000, from(1));
	expect_raw(1, 104, (struct heap_values){2, 198, 0, 0});
	expect_raw(1, 5120, (struct heap_values){1, 5000, 0, 0});
	heap_on_free(block(2));
	expect_raw(1, 104, (struct heap_values){2, 198, 1, 98});
	heap_on_free(block(2)); /* once is enough */
	heap_on_free(block(500));
	heap_on_free((char *)block(1) + 16);
	expect_raw(1, 104, (struct heap_values){2, 198, 1, 98});
	heap_on_free(block(1));
	heap_on_free(block(3));
	expect_raw(1, 104, (struct heap_values){2, 198, 2, 198});
	expect_raw(1, 5120, (struct heap_values){1, 5000, 1, 5000});
}

static void test_stacks_of_the_snapshot_are_those_of_the_walk(void **state)
{
	(void)state;
	struct region r = {0};
	heap_on_alloc(block(10), 64, (struct unwind_frame){.pc = 0x400000 + 10, .sp = 0x77, .fp = 3});
	heap_on_alloc(block(11), 64, (struct unwind_frame){.pc = 0x400000 + 11, .sp = 0x78, .fp = 100});
	struct heap_snapshot s = snap(&r);
	const struct stack *a = row_of(&s, 10, 64)->stack, *b = row_of(&s, 11, 64)->stack;
	assert_int_equal(a->depth, 4);
	for (uint32_t i = 1; i < a->depth; i++)
		assert_int_equal(a->pc[i], 0x77);
	assert_int_equal(b->depth, 8); /* stack_here_start's */
	assert_int_equal(s.rate_bytes, RATE);
	assert_true(s.time_ns > 1600000000ull * 1000000000);
	region_release(&r);
	heap_on_free(block(10));
	heap_on_free(block(11));
}

static void test_size_classes_have_the_documented_borders(void **state)
{
	static const struct {
		size_t size, class_bytes;
	} rows[] = {
		{0, 0},
		{1, 8},
		{7, 8},
		{8, 8},
		{9, 16},
		{16, 16},
		{17, 24},
		{120, 120},
		{121, 128},
		{127, 128},
		{128, 128},
		{129, 144},
		{144, 144},
		{145, 160},
		{240, 240},
		{241, 256},
		{256, 256},
		{257, 288},
		{288, 288},
		{289, 320},
		{512, 512},
		{513, 576},
		{1000, 1024},
		{1024, 1024},
		{1025, 1152},
		{4096, 4096},
		{4097, 4608},
		{65536, 65536},
		{65537, 73728},
		{1 << 20, 1 << 20},
		{(1 << 20) + 1, (1 << 20) + (1 << 17)},
		{((size_t)1 << 40) + 1, ((size_t)1 << 40) + ((size_t)1 << 37)},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct region r = {0};
		heap_on_alloc(block(20), rows[i].size, from(10000 + i));
		struct heap_snapshot s = snap(&r);
		const struct heap_row *row = row_of(&s, 10000 + i, rows[i].class_bytes);
		if (!row)
			fail_msg("size %zu is not in class %zu", rows[i].size, rows[i].class_bytes);
		assert_int_equal(row->raw.alloc_bytes, rows[i].size);
		region_release(&r);
		heap_on_free(block(20));
	}
}

/* A class holds its sizes and no more: it is at most an eighth larger than any of them (8 bytes for small ones). */
static void test_a_size_class_is_never_far_from_its_sizes(void **state)
{
	(void)state;
	uintptr_t site = 20000;
	for (size_t size = 1; size < 1 << 22; size = size * 9 / 8 + 1, site++) {
		struct region r = {0};
		heap_on_alloc(block(21), size, from(site));
		struct heap_snapshot s = snap(&r);
		size_t class_bytes = s.rows[s.count - 1].class_bytes, slack = size / 8 < 7 ? 7 : size / 8;
		assert_int_equal(s.rows[s.count - 1].stack->pc[0], 0x400000 + site);
		assert_in_range(class_bytes, size, size + slack);
		region_release(&r);
		heap_on_free(block(21));
	}
}

static void test_estimates_are_the_weights_summed_up(void **state)
{
	(void)state;
	struct region r = {0};
	uint64_t objects = 0, bytes = 0;
	for (uintptr_t i = 0; i < 8; i++) {
		size_t size = 57 + i; /* one class, weights of their own */
		struct sampling_weight w = sampling_weight(size);
		objects += w.objects;
		bytes += w.bytes;
		heap_on_alloc(block(30 + i), size, from(30));
	}
	struct heap_snapshot s = snap(&r);
	const struct heap_row *row = row_of(&s, 30, 64);
	assert_int_equal(row->scaled.alloc_bytes, bytes);
	assert_int_equal(row->scaled.alloc_objects, (objects + SAMPLING_OBJECT_UNIT / 2) / SAMPLING_OBJECT_UNIT);
	assert_int_equal(row->scaled.free_objects, 0);
	for (uintptr_t i = 0; i < 8; i++)
		heap_on_free(block(30 + i));
	s = snap(&r);
	row = row_of(&s, 30, 64);
	assert_int_equal(row->scaled.free_bytes, row->scaled.alloc_bytes);
	assert_int_equal(row->scaled.free_objects, row->scaled.alloc_objects);
	region_release(&r);
}

static void test_a_block_taken_out_can_be_given_back_uncounted(void **state)
{
	(void)state;
	struct live_info info;
	heap_on_alloc(block(40), 200, from(40));
	assert_true(heap_take(block(40), &info));
	assert_int_equal(info.size_bytes, 200);
	assert_false(heap_take(block(40), &info));
	expect_raw(40, 208, (struct heap_values){1, 200, 0, 0});
	heap_give_back(block(40), info);
	expect_raw(40, 208, (struct heap_values){1, 200, 0, 0});
	heap_on_free(block(40));
	expect_raw(40, 208, (struct heap_values){1, 200, 1, 200});
}

static void test_a_block_taken_out_can_be_counted_as_freed(void **state)
{
	(void)state;
	struct live_info info;
	heap_on_alloc(block(41), 200, from(41));
	assert_true(heap_take(block(41), &info));
	heap_count_free(info);
	expect_raw(41, 208, (struct heap_values){1, 200, 1, 200});
	heap_on_free(block(41));
	expect_raw(41, 208, (struct heap_values){1, 200, 1, 200});
}

static void test_an_address_used_again_counts_the_old_block_as_freed(void **state)
{
	(void)state;
	heap_on_alloc(block(50), 100, from(50));
	heap_on_alloc(block(50), 300, from(51)); /* its free was never seen */
	expect_raw(50, 104, (struct heap_values){1, 100, 1, 100});
	expect_raw(51, 320, (struct heap_values){1, 300, 0, 0});
	heap_on_free(block(50));
	expect_raw(51, 320, (struct heap_values){1, 300, 1, 300});
	expect_raw(50, 104, (struct heap_values){1, 100, 1, 100});
}

static void test_a_free_inside_the_recorder_is_a_counted_loss(void **state)
{
	(void)state;
	uint64_t lost = shared_own(&losses.free_nested);
	heap_on_alloc(block(60), 100, from(60));
	self.busy = true;
	heap_on_free(block(61));
	assert_int_equal(shared_own(&losses.free_nested), lost); /* no sampled block near: nothing lost */
	heap_on_free(block(60));
	self.busy = false;
	assert_int_equal(shared_own(&losses.free_nested), lost + 1);
	expect_raw(60, 104, (struct heap_values){1, 100, 0, 0});
	heap_on_free(block(60));
	expect_raw(60, 104, (struct heap_values){1, 100, 1, 100});
}

static void test_a_later_snapshot_has_the_same_rows_first(void **state)
{
	(void)state;
	struct region r = {0};
	for (uintptr_t i = 0; i < 50; i++)
		heap_on_alloc(block(70), 16 << i % 10, from(70 + i / 2));
	struct heap_snapshot a = snap(&r);
	for (uintptr_t i = 0; i < 50; i++)
		heap_on_alloc(block(71), 24 << i % 10, from(70 + i / 3));
	heap_on_free(block(70));
	heap_on_free(block(71));
	struct heap_snapshot b = snap(&r);
	assert_true(b.count > a.count);
	for (size_t i = 0; i < a.count; i++) {
		assert_ptr_equal(a.rows[i].stack, b.rows[i].stack);
		assert_int_equal(a.rows[i].class_bytes, b.rows[i].class_bytes);
		assert_true(a.rows[i].raw.alloc_objects <= b.rows[i].raw.alloc_objects);
		assert_true(a.rows[i].raw.free_objects <= b.rows[i].raw.free_objects);
	}
	region_release(&r);
}

static void test_others_have_their_turn_while_a_snapshot_is_made(void **state)
{
	enum { STACKS = 200 };
	(void)state;
	struct region r = {0};
	struct heap_snapshot s;
	for (uintptr_t i = 0; i < STACKS; i++)
		heap_on_alloc(block(3000 + i), 64, from(3000 + i));
	turns = 0;
	s = snap(&r);
	assert_true(s.count >= STACKS);
	assert_in_range(turns, STACKS / 16, s.count + 1);
	is_unwanted = true;
	assert_int_equal(snapshot_heap(&r, &s), -ECANCELED);
	is_unwanted = false;
	for (uintptr_t i = 0; i < STACKS; i++)
		heap_on_free(block(3000 + i));
	region_release(&r);
}

static void test_stacks_in_use_and_all_stacks_are_counted(void **state)
{
	(void)state;
	uint64_t in_use, all, in_use_now, all_now;
	snapshot_count_heap(&in_use, &all);
	heap_on_alloc(block(80), 100, from(80));
	heap_on_alloc(block(81), 100, from(80));
	heap_on_alloc(block(82), 100, from(81));
	snapshot_count_heap(&in_use_now, &all_now);
	assert_int_equal(in_use_now - in_use, 2);
	assert_int_equal(all_now - all, 2);
	heap_on_free(block(80));
	heap_on_free(block(82));
	snapshot_count_heap(&in_use_now, &all_now);
	assert_int_equal(in_use_now - in_use, 1);
	assert_int_equal(all_now - all, 2);
	heap_on_free(block(81));
}

static void test_a_sampled_event_starts_a_pending_listener_once(void **state)
{
	(void)state;
	listener_starts = 0;
	shared_set_own(&listener_pending, true);
	heap_on_alloc(block(90), 100, from(90));
	heap_on_alloc(block(91), 100, from(90));
	assert_int_equal(listener_starts, 1);
	heap_on_free(block(90));
	heap_on_free(block(91));
}

static struct heap_row row_of_others(void)
{
	struct region r = {0};
	struct heap_snapshot s;
	struct heap_row row = {0};
	if (snapshot_heap(&r, &s) < 0)
		return row;
	for (size_t i = 0; i < s.count; i++)
		if (s.rows[i].stack == &stacks_others)
			row = s.rows[i];
	region_release(&r);
	return row;
}

/* The totals are those of the blocks, whatever has no room. */
static void fill_the_table(void)
{
	enum { MORE = 500 };
	arena_set_limit(4 * arena_mapped_bytes());
	uintptr_t n = 0, many = 1000000;
	while (n < many && !shared_own(&losses.stacks_full))
		heap_on_alloc(block(1000 + n), 100, from(1000 + n)), n++;
	struct heap_row first = row_of_others();
	for (uintptr_t i = 0; i < MORE; i++)
		heap_on_alloc(block(1000 + n + i), 200, from(1000 + n + i));
	heap_on_alloc(block(900), 300, from(1000)); /* of a known stack, with room for no size but those it had */
	struct heap_row row = row_of_others();
	CHECK(n < many && first.raw.alloc_objects == 1 && first.raw.alloc_bytes == 100 &&
	      shared_own(&losses.stacks_full) == 1 + MORE + 1);
	CHECK(row.raw.alloc_objects == 1 + MORE + 1 && row.raw.alloc_bytes == 100 + 200 * MORE + 300 &&
	      row.raw.free_objects == 0);
	for (uintptr_t i = 0; i < MORE; i++)
		heap_on_free(block(1000 + n + i));
	row = row_of_others();
	CHECK(row.raw.free_objects == MORE && row.raw.free_bytes == 200 * MORE &&
	      shared_own(&losses.heap_no_memory) == 0);
	uint64_t full = shared_own(&losses.stacks_full);
	heap_on_alloc(block(901), 100, from(1000)); /* what is known goes on being counted */
	CHECK(shared_own(&losses.stacks_full) == full);
}

static void test_what_has_no_room_is_counted_as_one_with_right_totals(void **state)
{
	(void)state;
	in_child(fill_the_table);
}

/* Blocks that are handed out then can't be followed, but `allocs` does not forget them. */
static void fill_the_blocks(void)
{
	arena_set_limit(arena_mapped_bytes());
	while (arena_alloc(16))
		continue;
	uintptr_t n = 0;
	while (n < 1000000 && !shared_own(&losses.heap_no_memory))
		heap_on_alloc(block(1000 + n), 100, from(900000)), n++; /* a stack of its own has no room */
	struct heap_row row = row_of_others();
	CHECK(n < 1000000 && row.raw.alloc_objects == n && row.raw.free_objects == 1);
	heap_on_free(block(1000 + n - 1)); /* the lost one: a plain block */
	heap_on_free(block(1000));
	row = row_of_others();
	CHECK(row.raw.free_objects == 2 && row.raw.free_bytes == 200);
}

static void test_blocks_that_cannot_be_followed_are_counted_as_allocated(void **state)
{
	(void)state;
	in_child(fill_the_blocks);
}

enum { THREADS = 4, ROUNDS = 3000 };

static void *churn(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	for (uintptr_t i = 0; i < ROUNDS; i++) {
		heap_on_alloc(block(2000 + me * 16 + i % 16), 32,
		              from(40000 + i % 7)); /* stacks are shared, blocks are not */
		heap_on_free(block(2000 + me * 16 + i % 16));
	}
	return NULL;
}

/* A row is consistent in itself at any moment: what was freed was allocated before. */
static void test_threads_and_a_reader_agree_on_every_row(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)i), 0);
	for (int k = 0; k < 30; k++) {
		struct region r = {0};
		struct heap_snapshot s = snap(&r);
		for (size_t i = 0; i < s.count; i++) {
			struct heap_values *v = &s.rows[i].raw;
			if (v->free_objects > v->alloc_objects || v->free_bytes > v->alloc_bytes)
				fail_msg("row %zu: more freed than allocated", i);
			if (s.rows[i].stack->pc[0] >= 0x400000 + 40000 && v->alloc_bytes != 32 * v->alloc_objects)
				fail_msg("row %zu: torn", i);
		}
		region_release(&r);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	struct region r = {0};
	struct heap_snapshot s = snap(&r);
	uint64_t allocs = 0, frees = 0;
	for (uintptr_t site = 40000; site < 40007; site++) {
		allocs += row_of(&s, site, 32)->raw.alloc_objects;
		frees += row_of(&s, site, 32)->raw.free_objects;
	}
	assert_int_equal(allocs, THREADS * ROUNDS);
	assert_int_equal(frees, THREADS * ROUNDS);
	region_release(&r);
}

static void tell(void *arg, const char *line)
{
	char **text = arg;
	assert_null(*text);
	*text = strdup(line);
}

static void test_a_trace_is_told_of_what_each_sample_stands_for(void **state)
{
	(void)state;
	struct sampling_weight w = sampling_weight(1000);
	int before = traced;
	traced_bytes = 0;
	shared_set_own(&waits_watchers, ~(uint32_t)WAITS_FOR_TRACE); /* the others have no interest */
	heap_on_alloc(block(900), 1000, from(900));
	assert_int_equal(traced, before);
	shared_set_own(&waits_watchers, WAITS_FOR_TRACE);
	heap_on_alloc(block(901), 1000, from(900));
	assert_int_equal(traced_bytes, w.bytes);
	heap_on_free(block(900)); /* of before the trace: it is freed all the same */
	assert_int_equal(traced_bytes, 0);
	heap_on_free(block(902)); /* no sample */
	assert_int_equal(traced, before + 2);
	heap_on_free(block(901));
	assert_true(traced_bytes == -(int64_t)w.bytes);
	assert_int_equal(traced, before + 3);
	shared_set_own(&waits_watchers, 0);
}

static void test_losses_are_told_by_name_and_only_when_there_are_any(void **state)
{
	(void)state;
	struct losses saved = losses;
	losses = (struct losses){0};
	char *text = NULL;
	snapshot_losses(tell, &text);
	assert_null(text);
	losses_count(deep_bind);
	losses_count(deep_bind);
	snapshot_losses(tell, &text);
	assert_non_null(text);
	assert_memory_equal(text, "2 libraries opened with RTLD_DEEPBIND", 37);
	free(text);
	/* none is cut off */
	uint64_t *each = (uint64_t *)&losses;
	for (size_t i = 0; i < sizeof losses / sizeof *each; i++) {
		losses = (struct losses){0};
		each[i] = UINT64_MAX >> 1;
		text = NULL;
		snapshot_losses(tell, &text);
		assert_non_null(text);
		assert_in_range(strlen(text), 21, 254);
		free(text);
	}
	losses = saved;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allocations_and_frees_are_counted_at_the_allocating_stack),
		cmocka_unit_test(test_stacks_of_the_snapshot_are_those_of_the_walk),
		cmocka_unit_test(test_size_classes_have_the_documented_borders),
		cmocka_unit_test(test_a_size_class_is_never_far_from_its_sizes),
		cmocka_unit_test(test_estimates_are_the_weights_summed_up),
		cmocka_unit_test(test_a_block_taken_out_can_be_given_back_uncounted),
		cmocka_unit_test(test_a_block_taken_out_can_be_counted_as_freed),
		cmocka_unit_test(test_an_address_used_again_counts_the_old_block_as_freed),
		cmocka_unit_test(test_a_free_inside_the_recorder_is_a_counted_loss),
		cmocka_unit_test(test_a_later_snapshot_has_the_same_rows_first),
		cmocka_unit_test(test_others_have_their_turn_while_a_snapshot_is_made),
		cmocka_unit_test(test_stacks_in_use_and_all_stacks_are_counted),
		cmocka_unit_test(test_a_sampled_event_starts_a_pending_listener_once),
		cmocka_unit_test(test_what_has_no_room_is_counted_as_one_with_right_totals),
		cmocka_unit_test(test_blocks_that_cannot_be_followed_are_counted_as_allocated),
		cmocka_unit_test(test_threads_and_a_reader_agree_on_every_row),
		cmocka_unit_test(test_a_trace_is_told_of_what_each_sample_stands_for),
		cmocka_unit_test(test_losses_are_told_by_name_and_only_when_there_are_any),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
