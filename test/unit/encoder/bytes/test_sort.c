/* test_sort.c - the listener's sort against what it promises.
 *
 * Runs in: the test runner.
 *
 * links: encoder/bytes/sort.c
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "encoder/bytes/sort.h"
#include "shim/base/pace.h"

static size_t turns; /* of others */

bool pace(void) /* pace.c's */
{
	turns++;
	return true; /* nobody wants the outcome: it is sorted all the same */
}

struct item {
	uint32_t key;
	uint32_t twice; /* says whether the whole item moved */
	char pad[40];
};

static bool smaller(const void *a, const void *b)
{
	return ((const struct item *)a)->key < ((const struct item *)b)->key;
}

static void check_sorted(uint32_t (*key)(size_t i), size_t count)
{
	struct item *items = calloc(count + 1, sizeof *items);
	uint64_t sum = 0;
	for (size_t i = 0; i < count; i++) {
		items[i].key = key(i);
		items[i].twice = 2 * items[i].key;
		sum += items[i].key;
	}
	items[count].key = 12345; /* not to be touched */
	sort_items(items, count, sizeof *items, smaller);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(items[i].twice, 2 * items[i].key);
		assert_true(i == 0 || items[i - 1].key <= items[i].key);
		sum -= items[i].key;
	}
	assert_int_equal(sum, 0);
	assert_int_equal(items[count].key, 12345);
	free(items);
}

static uint32_t rising(size_t i)
{
	return (uint32_t)i;
}

static uint32_t falling(size_t i)
{
	return 1000000 - (uint32_t)i;
}

static uint32_t few_values(size_t i)
{
	return (uint32_t)(i * 2654435761u >> 29);
}

static uint32_t scattered(size_t i)
{
	return (uint32_t)(i * 2654435761u) >> 8;
}

static void test_every_order_of_every_size_ends_sorted_and_whole(void **state)
{
	(void)state;
	uint32_t (*const keys[])(size_t) = {rising, falling, few_values, scattered};
	static const size_t counts[] = {0, 1, 2, 3, 4, 7, 10, 100, 1001, 20000};
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
		for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
			check_sorted(keys[k], counts[i]);
}

static void test_others_have_their_turn_while_a_long_array_is_sorted(void **state)
{
	(void)state;
	turns = 0;
	check_sorted(scattered, 1000);
	size_t of_short = turns;
	check_sorted(scattered, 65536);
	assert_in_range(of_short, 0, 10);
	assert_in_range(turns, 65536 / 1024, 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order_of_every_size_ends_sorted_and_whole),
		cmocka_unit_test(test_others_have_their_turn_while_a_long_array_is_sorted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
