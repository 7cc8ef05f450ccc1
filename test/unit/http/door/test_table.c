/* test_table.c - the processes behind a door: who is on the list, and what they are called.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/door/table.c http/address/fd.c shim/base/arena.c shim/base/sync.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/door/table.h"

static struct table table;

static int begin(void **state)
{
	(void)state;
	arena_set_limit(64 << 20);
	table.own_pid = 1;
	return 0;
}

static int end(void **state)
{
	(void)state;
	table_clear(&table);
	return arena_mapped_bytes() == 0 ? 0 : -1;
}

static struct member *add(int32_t pid)
{
	struct member *m = table_add(&table, 1000);
	assert_non_null(m);
	table_name(&table, m, pid);
	return m;
}

static const char *name_of(const struct member *m)
{
	static char text[24];
	struct line l = LINE(text);
	table_print_name(m, &l);
	return text;
}

static void test_a_pid_is_the_name_of_one_process(void **state)
{
	(void)state;
	struct member *a = add(42), *b = add(42), *c = add(1);
	assert_string_equal(name_of(a), "42");
	assert_string_equal(name_of(b), "42-2");
	assert_string_equal(name_of(c), "1-2"); /* the owner is 1 itself */
	assert_ptr_equal(table_find(&table, SPAN("42")), a);
	assert_ptr_equal(table_find(&table, SPAN("42-2")), b);
	assert_ptr_equal(table_find(&table, SPAN("1-2")), c);
	table_remove(&table, a);
	assert_null(table_find(&table, SPAN("42")));
	assert_string_equal(name_of(b), "42-2"); /* a name stays while its process is there */
	assert_string_equal(name_of(add(42)), "42");
	assert_string_equal(name_of(add(42)), "42-3");
}

static void test_only_a_name_as_it_is_printed_finds_its_process(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",     "0",   "7",     "042",   "+42",  " 42",        "42 ",
		"42-",  "-42", "42-0",  "42-1",  "42-3", "42-02",      "42-2-2",
		"0x2a", "42/", "42-2x", "42--2", "-",    "4294967338", "18446744073709551658"};
	add(42);
	add(42);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (table_find(&table, span_of(wrong[i])))
			fail_msg("found \"%s\"", wrong[i]);
	struct member *m = table_add(&table, 1000);
	assert_non_null(m);
	m->pid = 7; /* it has not said hello */
	assert_null(table_find(&table, SPAN("7")));
}

static void test_a_place_that_is_used_again_has_another_generation(void **state)
{
	(void)state;
	struct member *a = add(5);
	size_t place = table_place(&table, a);
	uint32_t generation = a->generation;
	assert_ptr_equal(table_at(&table, place), a);
	table_remove(&table, a);
	assert_null(table_at(&table, place));
	struct member *b = add(6);
	assert_int_equal(table_place(&table, b), place);
	assert_int_not_equal(b->generation, generation);
	assert_int_equal(b->passes, 0);
	assert_null(table_at(&table, TABLE_MOST));
}

static void test_a_hundred_cost_less_than_a_mebibyte_and_more_than_a_thousand_find_no_room(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++)
		add(i + 2);
	assert_true(arena_mapped_bytes() < 1 << 20);
	for (int i = 100; i < TABLE_MOST; i++)
		add(i + 2);
	assert_int_equal(table.count, TABLE_MOST);
	assert_null(table_add(&table, 1000));
	table_remove(&table, table_find(&table, SPAN("500")));
	assert_string_equal(name_of(add(5000)), "5000");
	assert_null(table_add(&table, 1000));
}

static void test_without_memory_nobody_is_added(void **state)
{
	(void)state;
	arena_set_limit(0);
	assert_null(table_add(&table, 1000));
	assert_int_equal(table.count, 0);
}

#define TABLE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TABLE(test_a_pid_is_the_name_of_one_process),
		TABLE(test_only_a_name_as_it_is_printed_finds_its_process),
		TABLE(test_a_place_that_is_used_again_has_another_generation),
		TABLE(test_a_hundred_cost_less_than_a_mebibyte_and_more_than_a_thousand_find_no_room),
		TABLE(test_without_memory_nobody_is_added),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
