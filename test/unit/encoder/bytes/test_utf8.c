/* test_utf8.c - strings that leave the profiler are well-formed UTF-8, whatever came in.
 *
 * Runs in: the test runner.
 *
 * links: encoder/bytes/utf8.c shim/base/arena.c shim/base/sync.c shim/base/text.c
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "encoder/bytes/utf8.h"

static void test_what_is_well_formed_stays_and_what_is_not_loses_its_odd_bytes(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"", ""},
		{"plain_name", "plain_name"},
		{"caf\xc3\xa9", "caf\xc3\xa9"},
		{"\xe2\x82\xac", "\xe2\x82\xac"},
		{"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
		{"a\xff"
	         "b",
	         "a?b"},
		{"a\x80"
	         "b",
	         "a?b"},                      /* a continuation alone */
		{"a\xc3", "a?"},              /* cut short */
		{"\xe2\x82", "??"},           /* cut short */
		{"\xc0\xaf", "??"},           /* too long a form of '/' */
		{"\xe0\x80\xaf", "???"},      /* the same, longer */
		{"\xed\xa0\x80", "???"},      /* a surrogate */
		{"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", "????"},
		{"caf\xc3\xa9 and \xff", "caf?? and ?"}, /* one bad byte: none is trusted */
	};
	struct region r = {0};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(utf8_copy(&r, span_of(rows[i].in)), rows[i].out);
	region_release(&r);
}

static void test_a_nul_inside_becomes_a_question_mark(void **state)
{
	(void)state;
	struct region r = {0};
	assert_string_equal(utf8_copy(&r, (struct span){"a\0b", 3}), "a?b");
	region_release(&r);
}

static void test_without_memory_there_is_no_copy(void **state)
{
	(void)state;
	struct region r = {0};
	arena_set_limit(0);
	assert_null(utf8_copy(&r, SPAN("name")));
	arena_set_limit(1 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_well_formed_stays_and_what_is_not_loses_its_odd_bytes),
		cmocka_unit_test(test_a_nul_inside_becomes_a_question_mark),
		cmocka_unit_test(test_without_memory_there_is_no_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
