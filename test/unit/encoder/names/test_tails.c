/* test_tails.c - which frames of functions that ended in a jump are certain.
 *
 * Runs in: its own process. One object, whose answers are put into the cache by hand.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/tails.c encoder/names/ways.c encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encoder/names/cache.h"
#include "encoder/names/tails.h"
#include "test/unit/at_home.h"
#include "test/unit/support/count.h"

enum { BIAS = 0x10000000, CALLER = 0x1010, LEAF = 0x9010, F = 0x2000, G = 0x3000, H = 0x4000, K = 0x5000 };

static struct module module = {.bias = BIAS, .text_count = 1};
static struct region memory;
static struct names names;
static uint64_t called; /* where the machine code at CALLER goes to */
static unsigned asked;  /* calls that were asked about */

struct site names_site(const struct names *n, uintptr_t address, uint64_t place)
{
	(void)n, (void)place;
	return (struct site){.address = address, .module = &module};
}

uint64_t names_file_address(struct site site)
{
	return site.address - BIAS;
}

int names_prepare(struct names *n, const struct site *sites, size_t count, struct patience *p)
{
	(void)n, (void)sites, (void)count, (void)p;
	return 0;
}

int names_prepare_calls(struct names *n, const struct site *sites, size_t count, struct patience *p)
{
	(void)n, (void)p;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(sites[i].address, BIAS + CALLER);
	asked += (unsigned)count;
	return 0;
}

/* --- what is known -------------------------------------------------------------------------------- */

static void know(uint64_t address, uint64_t start, const char *name, const char *calls)
{
	struct object *o = cache_object(&module);
	const struct name_frame f = {.function = span_of(name), .system = span_of(name)};
	cache_put(o, address, start, &f, 1, true);
	if (calls)
		cache_put_callee(o, address, span_of(calls), address == CALLER ? called : 0);
}

/* main calls "f" at CALLER. */
static int begin(void **state)
{
	(void)state;
	cache_forget();
	region_release(&memory);
	names = (struct names){.region = &memory};
	asked = 0;
	called = 0;
	know(CALLER, 0x1000, "main", "f");
	return 0;
}

static int end(void **state)
{
	(void)state;
	cache_forget();
	region_release(&memory);
	return 0;
}

static void know_jumps(const struct way_jump *jump, uint32_t count)
{
	cache_put_jumps(cache_object(&module), CALLER | CACHE_CALL, F, jump, count);
}

#define KNOW_JUMPS(...) \
	do { \
		const struct way_jump some[] = {__VA_ARGS__}; \
		know_jumps(some, COUNT(some)); \
	} while (0)
#define TO(address, text) \
	(address), \
	{ \
		text, sizeof(text) - 1 \
	}

/* --- what comes of it ------------------------------------------------------------------------------ */

static const struct stack *complete(enum tails_leaf leaf, const uintptr_t *pc, uint32_t depth)
{
	struct stack *s = region_alloc(&memory, sizeof *s + depth * sizeof *pc);
	struct tails_stack result = {s, leaf};
	s->depth = depth;
	s->place = 7;
	for (uint32_t i = 0; i < depth; i++)
		s->pc[i] = BIAS + pc[i];
	assert_int_equal(tails_insert(&names, &result, 1, NULL), 0);
	assert_int_equal(result.stack->place, 7);
	return result.stack;
}

static void assert_stack(const struct stack *s, const uintptr_t *pc, uint32_t depth)
{
	assert_int_equal(s->depth, depth);
	for (uint32_t i = 0; i < depth; i++)
		assert_int_equal(s->pc[i], BIAS + pc[i]);
}

#define ASSERT_STACK(stack, ...) \
	do { \
		const uintptr_t all[] = {__VA_ARGS__}; \
		assert_stack(stack, all, COUNT(all)); \
	} while (0)
#define ASSERT_DOUBTS(how_ambiguous, how_unknown) \
	do { \
		assert_int_equal(names.tails.ambiguous, how_ambiguous); \
		assert_int_equal(names.tails.unknown, how_unknown); \
	} while (0)
#define COMPLETE(leaf, ...) complete(leaf, (const uintptr_t[]){__VA_ARGS__}, COUNT(((const uintptr_t[]){__VA_ARGS__})))

static void test_a_jump_to_the_allocator_is_a_frame(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 9, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), F + 9, CALLER);
}

static void test_a_chain_is_in_its_order(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 9, TO(G, "g")}, {G, G + 4, TO(H, "h")}, {H, H + 2, TO(0, "_Znwm")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), H + 2, G + 4, F + 9, CALLER);
}

static void test_between_frames(void **state)
{
	(void)state;
	know(LEAF, 0x9000, "leaf", NULL);
	KNOW_JUMPS({F, F + 9, TO(0x9000, "leaf")});
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, F + 9, CALLER);
}

static void test_what_is_called_is_what_runs(void **state)
{
	(void)state;
	know(LEAF, 0x9000, "f", NULL);
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, CALLER);
	know(LEAF, 0x9000, "__GI_f", NULL);
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, CALLER);
	know(LEAF, 0x9000, "f.constprop.0", NULL);
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, CALLER);
	assert_int_equal(asked, 0);
}

static void test_another_name_of_what_runs_is_no_jump(void **state)
{
	(void)state;
	know(F + 0x10, F, "alias", NULL);
	KNOW_JUMPS({F, F + 9, TO(F, "f")});
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, F + 0x10, CALLER), F + 0x10, CALLER);
	assert_true(asked > 0);
	asked = 0;
	called = F;
	know(CALLER, 0x1000, "main", "f");
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, F + 0x10, CALLER), F + 0x10, CALLER);
	assert_int_equal(asked, 0);
}

static void test_of_two_ways_only_what_both_pass_is_certain(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 1, TO(G, "g")}, {F, F + 2, TO(H, "h")}, {G, G + 1, TO(K, "k")}, {H, H + 1, TO(K, "k")},
	           {K, K + 1, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), K + 1, F, CALLER);
	ASSERT_DOUBTS(1, 0);
	assert_int_equal(names.tails.ambiguous_first.len, 1);
	assert_memory_equal(names.tails.ambiguous_first.at, "f", 1);
}

static void test_two_jumps_of_a_function_leave_its_line_open(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 1, TO(0, "malloc")}, {F, F + 2, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), F, CALLER);
	ASSERT_DOUBTS(0, 0);
}

static void test_jumps_that_lead_elsewhere_do_not_count(void **state)
{
	(void)state;
	know(LEAF, 0x9000, "leaf", NULL);
	KNOW_JUMPS({F, F + 1, TO(G, "g")}, {F, F + 2, TO(0x9000, "leaf")}, {G, G + 1, TO(G, "g")});
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, F + 2, CALLER);
	ASSERT_DOUBTS(0, 0);
}

static void test_a_loop_of_jumps_ends(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 1, TO(G, "g")}, {G, G + 1, TO(F, "f")}, {G, G + 2, TO(0, "malloc")});
	const struct stack *s = COMPLETE(TAILS_ALLOCATOR, CALLER);
	assert_int_equal(s->depth, 3);
	assert_true(s->pc[0] >= BIAS + G && s->pc[0] <= BIAS + G + 2);
	assert_int_equal(s->pc[1], BIAS + F + 1);
}

/* A jump to a place that is not known, or in another file, may lead to the running function. */
static void test_unknown_jumps_make_others_doubtful(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 1, TO(G, "g")}, {F, F + 2, TO(0, "")}, {G, G + 1, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), F, CALLER);
	KNOW_JUMPS({F, F + 1, TO(G, "g")}, {F, F + 2, TO(0, "elsewhere")}, {G, G + 1, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), F, CALLER);
}

static void test_without_a_known_way_the_called_function_is_certain(void **state)
{
	(void)state;
	know(LEAF, 0x9000, "leaf", NULL);
	KNOW_JUMPS({F, F + 1, TO(G, "g")});
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, F, CALLER);
	ASSERT_DOUBTS(0, 1);
	know_jumps(NULL, 0);
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), F, CALLER);
}

static void test_a_called_function_that_is_not_in_the_file_is_left_out(void **state)
{
	(void)state;
	cache_put_jumps(cache_object(&module), CALLER | CACHE_CALL, 0, NULL, 0);
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), CALLER);
}

static void test_a_runner_without_a_name_is_left_alone(void **state)
{
	(void)state;
	KNOW_JUMPS({F, F + 1, TO(0, "malloc")});
	ASSERT_STACK(COMPLETE(TAILS_NOTHING, LEAF, CALLER), LEAF, CALLER);
}

static void test_hostile_graphs_are_borne(void **state)
{
	(void)state;
	struct way_jump many[64];
	for (uint32_t i = 0; i < COUNT(many); i++)
		many[i] = (struct way_jump){F + 2 * i, F + 2 * i, F + 2 * i + 2, SPAN("x")};
	know_jumps(many, COUNT(many));
	COMPLETE(TAILS_ALLOCATOR, CALLER);
	for (uint32_t i = 0; i < COUNT(many); i++)
		many[i] = (struct way_jump){K + 7 * i, 0, UINT64_MAX - i, SPAN("")};
	know_jumps(many, COUNT(many));
	ASSERT_STACK(COMPLETE(TAILS_ALLOCATOR, CALLER), CALLER);
}

static void test_a_stack_that_is_not_there_is_borne(void **state)
{
	(void)state;
	struct tails_stack none = {NULL, TAILS_NOTHING};
	assert_int_equal(tails_insert(&names, &none, 1, NULL), 0);
	assert_null(none.stack);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_jump_to_the_allocator_is_a_frame, begin, end),
		cmocka_unit_test_setup_teardown(test_a_chain_is_in_its_order, begin, end),
		cmocka_unit_test_setup_teardown(test_between_frames, begin, end),
		cmocka_unit_test_setup_teardown(test_what_is_called_is_what_runs, begin, end),
		cmocka_unit_test_setup_teardown(test_another_name_of_what_runs_is_no_jump, begin, end),
		cmocka_unit_test_setup_teardown(test_of_two_ways_only_what_both_pass_is_certain, begin, end),
		cmocka_unit_test_setup_teardown(test_two_jumps_of_a_function_leave_its_line_open, begin, end),
		cmocka_unit_test_setup_teardown(test_jumps_that_lead_elsewhere_do_not_count, begin, end),
		cmocka_unit_test_setup_teardown(test_a_loop_of_jumps_ends, begin, end),
		cmocka_unit_test_setup_teardown(test_unknown_jumps_make_others_doubtful, begin, end),
		cmocka_unit_test_setup_teardown(test_without_a_known_way_the_called_function_is_certain, begin, end),
		cmocka_unit_test_setup_teardown(test_a_called_function_that_is_not_in_the_file_is_left_out, begin, end),
		cmocka_unit_test_setup_teardown(test_a_runner_without_a_name_is_left_alone, begin, end),
		cmocka_unit_test_setup_teardown(test_hostile_graphs_are_borne, begin, end),
		cmocka_unit_test_setup_teardown(test_a_stack_that_is_not_there_is_borne, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
