/* test_path.c - paths of requests: clean, decoded, as Go's ServeMux has them.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/path.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/server/path.h"
#include "test/unit/support/count.h"

static char to[64];

static void test_a_clean_path_is_gos(void **state)
{
	/* what path.Clean of Go answers, with the slash at the end as net/http keeps it */
	static const struct {
		const char *path, *clean;
	} rows[] = {
		{"/", "/"},
		{"//", "/"},
		{"/a", "/a"},
		{"/a/", "/a/"},
		{"//a", "/a"},
		{"/a//b", "/a/b"},
		{"/a/./b", "/a/b"},
		{"/a/.", "/a"},
		{"/a/./", "/a/"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a"},
		{"/a/b/../", "/a/"},
		{"/../../a", "/a"},
		{"/..", "/"},
		{"/../", "/"},
		{"/a/...", "/a/..."},
		{"/a/.b", "/a/.b"},
		{"/a/%2e%2e/b", "/a/%2e%2e/b"},
		{"/a//../b/./c//", "/b/c/"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct span clean = path_clean(span_of(rows[i].path), to);
		if (!span_is(clean, rows[i].clean) || clean.len > strlen(rows[i].path) + 1)
			fail_msg("%s: %.*s", rows[i].path, (int)clean.len, clean.at);
		assert_true(span_is(path_clean(clean, to + 32), rows[i].clean));
	}
}

static void test_sequences_are_decoded(void **state)
{
	static const struct {
		const char *path, *decoded;
	} rows[] = {
		{"/%68eap", "/heap"}, {"/%48%45%41%50", "/HEAP"}, {"/a+b", "/a+b"}, {"/a%2fb", "/a/b"},
		{"/%25%36", "/%6"},   {"/%e2%82%ac", "/\u20ac"},  {"", ""},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (!span_is(path_decode(span_of(rows[i].path), to), rows[i].decoded))
			fail_msg("%s: %s", rows[i].path, to);
	struct span zero = path_decode(SPAN("/%00"), to);
	assert_int_equal(zero.len, 2);
	assert_int_equal(zero.at[1], 0);
}

static void test_a_sequence_has_two_digits(void **state)
{
	static const char *const good[] = {"", "/", "/%41", "/%4a%4A", "/a"};
	static const char *const bad[] = {"/%", "/%4", "/%4g", "/%g4", "/%%41", "/%+4", "/a%"};
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(path_is_well_formed(span_of(good[i])));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(path_is_well_formed(span_of(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_clean_path_is_gos),
		cmocka_unit_test(test_sequences_are_decoded),
		cmocka_unit_test(test_a_sequence_has_two_digits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
