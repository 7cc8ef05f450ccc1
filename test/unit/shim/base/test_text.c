/* test_text.c - numbers and text without libc.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "shim/base/text.h"
#include "test/unit/support/count.h"
#include "test/unit/support/fenced.h"

static void test_unsigned_numbers_are_read_whole_or_refused(void **state)
{
	static const struct {
		const char *text;
		unsigned base;
		bool good;
		uint64_t value;
	} rows[] = {
		{"0", 10, true, 0},
		{"7", 10, true, 7},
		{"0007", 10, true, 7},
		{"18446744073709551615", 10, true, UINT64_MAX},
		{"18446744073709551616", 10, false, 0},
		{"99999999999999999999", 10, false, 0},
		{"184467440737095516150", 10, false, 0},
		{"", 10, false, 0},
		{" 1", 10, false, 0},
		{"1 ", 10, false, 0},
		{"+1", 10, false, 0},
		{"-1", 10, false, 0},
		{"1a", 10, false, 0},
		{"0x1", 10, false, 0},
		{"ff", 16, true, 255},
		{"FfFfFfFfFfFfFfFf", 16, true, UINT64_MAX},
		{"10000000000000000", 16, false, 0},
		{"0xff", 16, false, 0},
		{"g", 16, false, 0},
		{"/", 16, false, 0},
		{":", 10, false, 0},
		{"\xff", 16, false, 0},
		/* base 0, as Go's ParseUint */
		{"0", 0, true, 0},
		{"10", 0, true, 10},
		{"0x10", 0, true, 16},
		{"0X1f", 0, true, 31},
		{"0o17", 0, true, 15},
		{"0O17", 0, true, 15},
		{"0b101", 0, true, 5},
		{"017", 0, true, 15},
		{"00", 0, true, 0},
		{"08", 0, false, 0},
		{"0x", 0, false, 0},
		{"0b", 0, false, 0},
		{"0b2", 0, false, 0},
		{"0xffffffffffffffff", 0, true, UINT64_MAX},
		{"0x1ffffffffffffffff", 0, false, 0},
		{"x10", 0, false, 0},
		{"", 0, false, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t value = 4711;
		bool good = text_parse_uint(fenced(rows[i].text), rows[i].base, &value);
		if (good != rows[i].good || value != (good ? rows[i].value : 4711))
			fail_msg("row %zu \"%s\": %d %llu", i, rows[i].text, good, (unsigned long long)value);
	}
}

static void test_signed_numbers_are_read_as_go_reads_them(void **state)
{
	static const struct {
		const char *text;
		bool good;
		int64_t value;
	} rows[] = {
		{"0", true, 0},
		{"-0", true, 0},
		{"+5", true, 5},
		{"-5", true, -5},
		{"9223372036854775807", true, INT64_MAX},
		{"9223372036854775808", false, 0},
		{"-9223372036854775808", true, INT64_MIN},
		{"-9223372036854775809", false, 0},
		{"", false, 0},
		{"-", false, 0},
		{"+", false, 0},
		{"+-1", false, 0},
		{"--1", false, 0},
		{"1.0", false, 0},
		{"1e3", false, 0},
		{" 1", false, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t value = 4711;
		bool good = text_parse_int(fenced(rows[i].text), &value);
		if (good != rows[i].good || value != (good ? rows[i].value : 4711))
			fail_msg("row %zu \"%s\": %d %lld", i, rows[i].text, good, (long long)value);
	}
}

static void test_cutting_takes_the_head_and_leaves_the_rest(void **state)
{
	static const struct {
		const char *text, *head, *rest;
	} rows[] = {
		{"a=b", "a", "b"},     {"a", "a", ""}, {"=b", "", "b"}, {"a=", "a", ""},
		{"a=b=c", "a", "b=c"}, {"", "", ""},   {"=", "", ""},   {"==", "", "="},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span rest = fenced(rows[i].text), head = span_cut(&rest, '=');
		if (!span_is(head, rows[i].head) || !span_is(rest, rows[i].rest))
			fail_msg("row %zu: \"%.*s\" \"%.*s\"", i, (int)head.len, head.at, (int)rest.len, rest.at);
	}
}

static void test_cutting_a_span_of_nothing_is_harmless(void **state)
{
	(void)state;
	struct span nothing = {NULL, 0};
	struct span head = span_cut(&nothing, ',');
	assert_int_equal(head.len, 0);
	assert_int_equal(nothing.len, 0);
}

static void test_trimming_takes_blanks_off_both_ends_alone(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {{"a", "a"}, {" a", "a"},  {"a ", "a"},       {"\t a b \t", "a b"},
	            {"", ""},   {" \t ", ""}, {"\na\n", "\na\n"}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_true(span_is(span_trim(fenced(rows[i].text)), rows[i].want));
}

static void test_comparisons_know_case_and_length(void **state)
{
	(void)state;
	assert_true(span_is_nocase(fenced("FaLsE"), "false"));
	assert_true(span_is_nocase(fenced(""), ""));
	assert_false(span_is_nocase(fenced("fals"), "false"));
	assert_false(span_is_nocase(fenced("falsey"), "false"));
	assert_false(span_is_nocase(fenced("[alse"), "{alse")); /* 0x20 apart, but no letters */
	assert_true(span_starts(fenced("abc"), "ab"));
	assert_true(span_starts(fenced("abc"), ""));
	assert_true(span_starts(fenced("abc"), "abc"));
	assert_false(span_starts(fenced("ab"), "abc"));
	assert_false(span_starts(fenced("aBc"), "ab"));
	assert_true(span_is(fenced("abc"), "abc"));
	assert_false(span_is(fenced("abc"), "abcd"));
	assert_false(span_is(fenced("abcd"), "abc"));
}

static void test_numbers_are_written_as_printf_writes_them(void **state)
{
	static const uint64_t rows[] = {
		0, 1, 9, 10, 15, 16, 99, 255, 4096, 1000000007, INT64_MAX, 1ull << 63, UINT64_MAX - 1, UINT64_MAX};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char want[32], got[64];
		struct line l = LINE(got);
		snprintf(want, sizeof want, "%lld", (long long)rows[i]);
		line_dec(&l, (int64_t)rows[i]);
		assert_string_equal(got, want);
		l = LINE(got);
		snprintf(want, sizeof want, "%llx", (unsigned long long)rows[i]);
		line_hex(&l, rows[i]);
		assert_string_equal(got, want);
		char digits[20];
		snprintf(want, sizeof want, "%llu", (unsigned long long)rows[i]);
		assert_int_equal(text_format_uint(digits, rows[i], 10), strlen(want));
		assert_memory_equal(digits, want, strlen(want));
	}
}

static void test_what_is_written_is_read_back(void **state)
{
	(void)state;
	uint64_t x = 88172645463325252u; /* xorshift64 */
	for (int i = 0; i < 20000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		uint64_t value = x >> (i % 64), back;
		int64_t signed_back;
		char text[64];
		struct line l = LINE(text);
		line_hex(&l, value);
		assert_true(text_parse_uint((struct span){text, l.len}, 16, &back));
		assert_true(back == value);
		l = LINE(text);
		line_dec(&l, (int64_t)value);
		assert_true(text_parse_int((struct span){text, l.len}, &signed_back));
		assert_true(signed_back == (int64_t)value);
	}
}

static void test_a_line_cuts_off_what_does_not_fit_and_ends_in_nul(void **state)
{
	(void)state;
	for (size_t cap = 1; cap < 12; cap++) {
		char text[16];
		memset(text, '#', sizeof text);
		struct line l = {text, cap, 0};
		line_str(&l, "abc");
		line_dec(&l, -12);
		line_bytes(&l, "", 0);
		line_hex(&l, 0xdef);
		size_t want = cap - 1 < 9 ? cap - 1 : 9;
		assert_int_equal(l.len, want);
		assert_memory_equal(text, "abc-12def", want);
		assert_int_equal(text[want], '\0');
		for (size_t i = cap; i < sizeof text; i++)
			assert_int_equal(text[i], '#');
	}
}

static void test_a_piece_is_found_where_it_stands_first(void **state)
{
	(void)state;
	struct span s = SPAN("ab/abc/abc");
	assert_ptr_equal(span_find(s, SPAN("abc")), s.at + 3);
	assert_ptr_equal(span_find(s, s), s.at);
	assert_ptr_equal(span_find(s, SPAN("")), s.at);
	assert_null(span_find(s, SPAN("abd")));
	assert_null(span_find((struct span){s.at, 2}, SPAN("ab/")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_piece_is_found_where_it_stands_first),
		cmocka_unit_test(test_unsigned_numbers_are_read_whole_or_refused),
		cmocka_unit_test(test_signed_numbers_are_read_as_go_reads_them),
		cmocka_unit_test(test_cutting_takes_the_head_and_leaves_the_rest),
		cmocka_unit_test(test_cutting_a_span_of_nothing_is_harmless),
		cmocka_unit_test(test_trimming_takes_blanks_off_both_ends_alone),
		cmocka_unit_test(test_comparisons_know_case_and_length),
		cmocka_unit_test(test_numbers_are_written_as_printf_writes_them),
		cmocka_unit_test(test_what_is_written_is_read_back),
		cmocka_unit_test(test_a_line_cuts_off_what_does_not_fit_and_ends_in_nul),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
