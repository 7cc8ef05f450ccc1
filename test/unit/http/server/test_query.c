/* test_query.c - parameters of a request, as Go's FormValue reads them.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/query.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "http/server/query.h"
#include "test/unit/support/fenced.h"

static const struct {
	const char *body, *url, *name;
	const char *value; /* NULL: not found */
} rows[] = {
	{"", "", "a", NULL},
	{"", "a=1", "a", "1"},
	{"", "a=1", "b", NULL},
	{"", "a=1", "aa", NULL},
	{"", "aa=1", "a", NULL},
	{"", "a", "a", ""},
	{"", "a=", "a", ""},
	{"", "=1", "a", NULL},
	{"", "a=1&a=2", "a", "1"},
	{"", "b=0&a=1=2", "a", "1=2"},
	{"", "&&a=1&&", "a", "1"},
	{"a=1", "a=2", "a", "1"},
	{"b=1", "a=2", "a", "2"},
	{"a=", "a=2", "a", ""},
	{"", "a=%31%3d%26+%2B", "a", "1=& +"},
	{"", "%61=1", "a", "1"},
	{"", "a%20b=1", "a b", "1"},
	{"", "a+b=1", "a b", "1"},
	{"", "a=%", "a", NULL},
	{"", "a=%3", "a", NULL},
	{"", "a=%3g&a=2", "a", "2"},
	{"", "a=%+1&a=2", "a", "2"},
	{"", "%zz=1&a=2", "a", "2"},
	{"a=%", "a=2", "a", "2"},
	{"", "a=1;b=2", "a", NULL},
	{"", "a=1;b=2&a=3", "a", "3"},
	{"", "a=%3b", "a", ";"},
	{"", "A=1", "a", NULL},
	{"", "a=\xff%ff", "a", "\xff\xff"},
};

static void test_parameters_are_found_as_go_finds_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct region r = {0};
		struct query q = {.body = span_of(rows[i].body), .url = fenced(rows[i].url), .region = &r};
		struct span value;
		bool found = query_find(&q, rows[i].name, &value);
		if (found != (rows[i].value != NULL) || !span_is(value, rows[i].value ? rows[i].value : ""))
			fail_msg("row %zu: %d \"%.*s\"", i, found, (int)value.len, value.at);
		assert_false(q.failed);
		region_release(&r);
	}
}

static void test_a_body_at_the_end_of_memory_is_not_read_past_its_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct region r = {0};
		struct query q = {.body = fenced(rows[i].url), .url = SPAN(""), .region = &r};
		struct span value;
		query_find(&q, rows[i].name, &value);
		query_find(&q, "", &value);
		region_release(&r);
	}
}

static void test_an_escaped_nul_does_not_end_a_name(void **state)
{
	(void)state;
	struct region r = {0};
	struct query q = {.body = SPAN(""), .url = SPAN("a%00=1"), .region = &r};
	struct span value;
	assert_false(query_find(&q, "a", &value));
	region_release(&r);
}

static void test_a_value_without_memory_marks_the_query_as_failed(void **state)
{
	(void)state;
	struct region r = {0};
	struct query q = {.body = SPAN(""), .url = SPAN("a=1"), .region = &r};
	struct span value;
	arena_set_limit(0);
	query_find(&q, "a", &value);
	assert_true(q.failed);
	assert_int_equal(value.len, 0);
	arena_set_limit(64 << 20);
}

#define S UINT64_C(1000000000) /* ns */

static void test_seconds_are_read_as_gos_parsefloat_reads_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{"1", S},
		{"+1", S},
		{"-1", 0},
		{"0", 0},
		{"-0", 0},
		{"0.0e9", 0},
		{"007", 7 * S},
		{"1.", S},
		{".5", S / 2},
		{"-.5", 0},
		{"1.5", 3 * S / 2},
		{"0.25", S / 4},
		{"3600", 3600 * S},
		{"3600.000000001", 3600 * S + 1},
		{"1e0", S},
		{"1E+2", 100 * S},
		{"2.5e-1", S / 4},
		{"25e-2", S / 4},
		{"0.001e3", S},
		{"1e-9", 1},
		{"1.9e-9", 1},
		{"1e-10", 1},
		{"1e-999999999999999999999999", 1},
		{"0e999999999999999999999", 0},
		{"1e10", 10 * S * S},
		{"18446744073.709551615", UINT64_C(18446744073709551610)},
		{"1.84467440737e10", UINT64_C(18446744073700000000)},
		{"1e11", UINT64_MAX},
		{"1e999999999999999999999999", UINT64_MAX},
		{"99999999999999999999999999999999", UINT64_MAX},
		{"0.333333333333333333333333333333333333", 333333333},
		{"10000000000000000000000000000000000e-34", S},
		{"0.00000000000000000000000000000000000000002e41", 2 * S},
		{"1.00000000000000000000000000000000009", S},
		{"10000000000000000000000.00000000000000000000001e-22", S},
		{"inf", UINT64_MAX},
		{"+Inf", UINT64_MAX},
		{"INFINITY", UINT64_MAX},
		{"-inf", 0},
	};
	static const char *const bad[] = {"",    " ",   "x",       ".",    "-",     "+",     "--1",
	                                  "+-1", "1 ",  " 1",      "1s",   "e1",    ".e1",   "1e",
	                                  "1e+", "1e-", "1ee1",    "1e1.", "1.2.3", "1,5",   "nan",
	                                  "NaN", "in",  "infinit", "inf1", "1\xff", "1e--1", "0x"};
	(void)state;
	uint64_t ns;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!query_parse_seconds(fenced(good[i].text), &ns) || ns != good[i].ns)
			fail_msg("%s: %llu", good[i].text, (unsigned long long)ns);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (query_parse_seconds(fenced(bad[i]), &ns))
			fail_msg("%s: %llu", bad[i], (unsigned long long)ns);
}

/* Takes what strtod takes for a decimal number, as the same one. */
static void test_random_seconds_are_what_strtod_says(void **state)
{
	static const char likely[] = "0123456789012345.e+-";
	uint32_t x = 9;
	int parsed = 0;
	(void)state;
	for (int round = 0; round < 200000; round++) {
		char text[12], *end;
		size_t len = 0;
		for (; len < sizeof text - 1; len++) {
			x = x * 1664525 + 1013904223;
			if (len && (x >> 16) % 5 == 0)
				break;
			text[len] = likely[(x >> 20) % (sizeof likely - 1)];
		}
		text[len] = '\0';
		uint64_t ns;
		double want = strtod(text, &end) * 1e9;
		bool good = query_parse_seconds(fenced(text), &ns);
		if (good != (*end == '\0'))
			fail_msg("%s: %d", text, good);
		if (!good)
			continue;
		parsed++;
		double got = (double)ns;
		bool is_same = want < 0   ? ns == 0
		               : want < 1 ? ns <= 1
		               : want >= 18446744073709551615.0
		                       ? ns == UINT64_MAX
		                       : got >= want * 0.999999999999999 - 1 && got <= want * 1.000000000000001;
		if (!is_same)
			fail_msg("%s: %llu", text, (unsigned long long)ns);
	}
	assert_true(parsed > 20000);
}

static void test_random_queries_are_survived(void **state)
{
	(void)state;
	static const char likely[] = "a=&%;+3d1ag\xff";
	uint32_t x = 7;
	for (int round = 0; round < 50000; round++) {
		char text[24];
		size_t len = 0;
		for (; len < sizeof text - 1; len++) {
			x = x * 1664525 + 1013904223;
			if ((x >> 16) % 23 == 0)
				break;
			text[len] = likely[(x >> 20) % (sizeof likely - 1)];
		}
		text[len] = '\0';
		struct region r = {0};
		struct query q = {.body = SPAN(""), .url = fenced(text), .region = &r};
		struct span value;
		if (query_find(&q, "a", &value))
			assert_true(value.len <= len);
		region_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parameters_are_found_as_go_finds_them),
		cmocka_unit_test(test_a_body_at_the_end_of_memory_is_not_read_past_its_end),
		cmocka_unit_test(test_an_escaped_nul_does_not_end_a_name),
		cmocka_unit_test(test_a_value_without_memory_marks_the_query_as_failed),
		cmocka_unit_test(test_seconds_are_read_as_gos_parsefloat_reads_them),
		cmocka_unit_test(test_random_seconds_are_what_strtod_says),
		cmocka_unit_test(test_random_queries_are_survived),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
