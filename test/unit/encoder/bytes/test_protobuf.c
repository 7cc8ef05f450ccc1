/* test_protobuf.c - fields of protobuf, byte by byte as the encoding guide has them.
 *
 * Runs in: a process of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/bytes/protobuf.c shim/base/arena.c shim/base/sync.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "encoder/bytes/protobuf.h"

static struct region region;
static struct message m, part;

static int setup(void **state)
{
	(void)state;
	message_init(&m, &region);
	message_init(&part, &region);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	region_release(&region);
	return 0;
}

#define EXPECT(...) \
	do { \
		const uint8_t want_[] = {__VA_ARGS__}; \
		assert_false(m.failed); \
		assert_int_equal(m.len, sizeof want_); \
		assert_memory_equal(m.at, want_, sizeof want_); \
	} while (0)

static void test_an_integer_has_its_key_and_a_varint(void **state)
{
	(void)state;
	message_uint(&m, 1, 150);
	message_uint(&m, 16, 0);
	EXPECT(0x08, 0x96, 0x01, 0x80, 0x01, 0x00);
}

static void test_a_negative_number_has_ten_bytes(void **state)
{
	(void)state;
	message_number(&m, 1, (uint64_t)-1);
	EXPECT(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
}

static void test_a_number_that_is_zero_is_not_written(void **state)
{
	(void)state;
	message_number(&m, 1, 0);
	assert_int_equal(m.len, 0);
}

static void test_a_string_has_its_length(void **state)
{
	(void)state;
	message_str(&m, 2, "testing");
	message_str(&m, 2, "");
	EXPECT(0x12, 0x07, 't', 'e', 's', 't', 'i', 'n', 'g', 0x12, 0x00);
}

static void test_repeated_numbers_are_packed(void **state)
{
	(void)state;
	message_packed(&m, 6, (const uint64_t[]){3, 270, 86942}, 3);
	message_packed(&m, 6, NULL, 0);
	EXPECT(0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05);
}

static void test_a_message_in_another_is_bytes_and_is_emptied(void **state)
{
	(void)state;
	message_uint(&part, 1, 150);
	message_part(&m, 3, &part);
	assert_int_equal(part.len, 0);
	EXPECT(0x1a, 0x03, 0x08, 0x96, 0x01);
}

static void test_a_message_grows_and_keeps_what_it_has(void **state)
{
	enum { MANY = 100000 };
	(void)state;
	for (uint64_t i = 0; i < MANY; i++)
		message_uint(&m, 1, 5);
	assert_false(m.failed);
	assert_int_equal(m.len, 2 * MANY);
	for (size_t i = 0; i < m.len; i += 2)
		assert_true(m.at[i] == 0x08 && m.at[i + 1] == 5);
}

static void test_without_memory_it_has_failed_for_good(void **state)
{
	static char large[1 << 20];
	(void)state;
	arena_set_limit(64 << 10);
	message_bytes(&m, 1, (struct span){large, sizeof large});
	assert_true(m.failed);
	arena_set_limit(64 << 20);
	message_bytes(&m, 1, (struct span){large, sizeof large});
	assert_true(m.failed);
	message_part(&part, 1, &m);
	assert_true(part.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_integer_has_its_key_and_a_varint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_negative_number_has_ten_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_number_that_is_zero_is_not_written, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_string_has_its_length, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repeated_numbers_are_packed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_message_in_another_is_bytes_and_is_emptied, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_message_grows_and_keeps_what_it_has, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory_it_has_failed_for_good, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
