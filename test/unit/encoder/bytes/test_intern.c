/* test_intern.c - byte strings numbered in the order they first appear.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/bytes/intern.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/bytes/intern.h"
#include "test/unit/support/count.h"

static void test_strings_get_numbers_in_the_order_of_their_first_appearance(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		int64_t number;
		bool is_new;
	} rows[] = {
		{"", 0, 0, true},      {"a", 1, 1, true},        {"", 0, 0, false},    {"ab", 2, 2, true},
		{"a", 1, 1, false},    {"a\0", 2, 3, true},      {"a\0b", 3, 4, true}, {"a\0c", 3, 5, true},
		{"a\0b", 3, 4, false}, {"\xff\xfe", 2, 6, true},
	};
	(void)state;
	struct region r = {0};
	struct intern t = {0};
	for (size_t i = 0; i < COUNT(rows); i++) {
		bool is_new;
		assert_int_equal(intern(&t, &r, (struct span){rows[i].text, rows[i].len}, &is_new), rows[i].number);
		assert_int_equal(is_new, rows[i].is_new);
	}
	assert_int_equal(t.count, 7);
	region_release(&r);
}

static void test_numbers_stay_while_the_table_grows(void **state)
{
	enum { N = 30000 };
	(void)state;
	struct region r = {0};
	struct intern t = {0};
	uint64_t *key = region_alloc(&r, N * sizeof *key);
	for (int round = 0; round < 2; round++)
		for (uint64_t i = 0; i < N; i++) {
			bool is_new;
			uint64_t copy = key[i] = 0x555500000000 + i * 16;
			if (round)
				assert_int_equal(intern(&t, &r, (struct span){(char *)&copy, sizeof copy}, &is_new), i);
			else
				assert_int_equal(intern(&t, &r, (struct span){(char *)&key[i], sizeof key[i]}, &is_new),
				                 i);
			assert_int_equal(is_new, round == 0);
		}
	assert_int_equal(t.count, N);
	/* every entry can be listed by its number, as the profile's locations are */
	size_t seen = 0;
	for (size_t i = 0; i < t.cap; i++)
		if (t.entry[i].number_plus_1) {
			assert_memory_equal(t.entry[i].key.at, &key[t.entry[i].number_plus_1 - 1], 8);
			seen++;
		}
	assert_int_equal(seen, N);
	region_release(&r);
}

static void test_without_memory_the_answer_is_minus_one_and_the_old_is_kept(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct region r = {0};
		struct intern t = {0};
		bool is_new;
		static char keys[100000][8];
		int64_t n = 0;
		arena_set_limit(16 << 20);
		for (int i = 0; i < 100000 && n >= 0; i++) {
			memcpy(keys[i], &i, sizeof i);
			n = intern(&t, &r, (struct span){keys[i], 8}, &is_new);
		}
		_exit(n == -1 && t.count > 100 && t.count < 100000 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings_get_numbers_in_the_order_of_their_first_appearance),
		cmocka_unit_test(test_numbers_stay_while_the_table_grows),
		cmocka_unit_test(test_without_memory_the_answer_is_minus_one_and_the_old_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
