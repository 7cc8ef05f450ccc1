/* test_token.c - the token's file: what is a token, what shuts the endpoint, when the file is read again.
 *
 * Runs in: its own process; files in a temporary folder.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/guard/token.c shim/base/text.c shim/base/log.c shim/base/own_file.c shim/base/powers.c
 * links: shim/base/kept_file.c shim/base/settings.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/guard/token.h"
#include "test/unit/support/count.h"

static char folder[64], path[96];

static void write_file(const char *at, const char *bytes, size_t n, mode_t mode)
{
	FILE *f = fopen(at, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
	assert_int_equal(chmod(at, mode), 0);
}

static void write_token(const char *text)
{
	write_file(path, text, strlen(text), 0600);
}

static int begin(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test_token.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/token", folder);
	token_start(path);
	return 0;
}

static int finish(void **state)
{
	char command[128];
	(void)state;
	snprintf(command, sizeof command, "rm -r %s", folder);
	return system(command);
}

static void test_without_a_file_everybody_may_ask(void **state)
{
	(void)state;
	token_start(NULL);
	assert_int_equal(token_look(), TOKEN_NONE);
	token_start("");
	assert_int_equal(token_look(), TOKEN_NONE);
	assert_false(token_is(SPAN("")));
}

static void test_the_files_word_is_the_token(void **state)
{
	(void)state;
	static const char *const files[] = {"S3cret", "S3cret\n", "S3cret\r\n", "S3cret \t\n\n"};
	for (size_t i = 0; i < COUNT(files); i++) {
		write_token(files[i]);
		assert_int_equal(token_look(), TOKEN_SET);
		assert_true(token_is(SPAN("S3cret")));
	}
	static const char *const wrong[] = {"", "S", "S3cre", "S3cret\n", "S3cret1", "s3cret", "S3creT", "XS3cret"};
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_false(token_is(span_of(wrong[i])));
	assert_false(token_is((struct span){"S3cret\0", 7}));
}

static void test_what_is_no_token_shuts(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
		mode_t mode;
	} files[] = {
		{"", 0, 0600},     {"\n", 1, 0600},          {"two words\n", 10, 0600}, {"two\nlines\n", 10, 0600},
		{"a\0b", 3, 0600}, {"caf\xc3\xa9", 5, 0600}, {"good", 4, 0604},         {"good", 4, 0644},
		{"good", 4, 0602},
	};
	for (size_t i = 0; i < COUNT(files); i++) {
		write_token("before");
		assert_int_equal(token_look(), TOKEN_SET);
		unlink(path);
		write_file(path, files[i].bytes, files[i].n, files[i].mode);
		assert_int_equal(token_look(), TOKEN_SHUT);
		assert_false(token_is(SPAN("before")));
		assert_false(token_is(SPAN("good")));
		assert_false(token_is(SPAN("")));
	}
	write_file(path, "good", 4, 0640); /* as a Secret with defaultMode 0440 and fsGroup */
	assert_int_equal(token_look(), TOKEN_SET);
}

static void test_no_regular_file_of_a_bearable_length_shuts(void **state)
{
	(void)state;
	static char most[1025];
	assert_int_equal(token_look(), TOKEN_SHUT); /* missing */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(token_look(), TOKEN_SHUT);
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(token_look(), TOKEN_SHUT);
	unlink(path);
	memset(most, 'x', sizeof most);
	write_file(path, most, sizeof most, 0600);
	assert_int_equal(token_look(), TOKEN_SHUT);
	write_file(path, most, sizeof most - 1, 0600);
	assert_int_equal(token_look(), TOKEN_SET);
	assert_true(token_is((struct span){most, sizeof most - 1}));
	assert_false(token_is((struct span){most, sizeof most}));
	assert_false(token_is((struct span){most, sizeof most - 2}));
}

/* As Kubernetes does: token → ..data/token, ..data → a folder, and a new link is renamed over the old one. */
static void test_a_link_that_is_swapped_is_noticed(void **state)
{
	(void)state;
	char a[128], b[128], data[128], next[128];
	snprintf(data, sizeof data, "%s/..data", folder);
	snprintf(next, sizeof next, "%s/..next", folder);
	for (int i = 0; i < 2; i++) {
		snprintf(a, sizeof a, "%s/%d", folder, i);
		mkdir(a, 0700);
		snprintf(b, sizeof b, "%s/%d/token", folder, i);
		write_file(b, i ? "second" : "firstt", 6, 0600);
	}
	assert_int_equal(symlink("..data/token", path), 0);
	assert_int_equal(symlink("0", data), 0);
	assert_int_equal(token_look(), TOKEN_SET);
	assert_true(token_is(SPAN("firstt")));
	assert_int_equal(symlink("1", next), 0);
	assert_int_equal(rename(next, data), 0);
	assert_int_equal(token_look(), TOKEN_SET);
	assert_true(token_is(SPAN("second")));
	assert_false(token_is(SPAN("firstt")));
	unlink(data);
	assert_int_equal(token_look(), TOKEN_SHUT);
	assert_false(token_is(SPAN("second")));
	assert_int_equal(symlink("1", data), 0); /* the file that was read last: it holds again */
	assert_int_equal(token_look(), TOKEN_SET);
}

static void test_headers_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *value, *user, *token; /* token NULL: there is none */
	} rows[] = {
		{"Bearer abc", "", "abc"},
		{"bearer  abc", "", "abc"},
		{"BEARER abc ", "", "abc"},
		{"Basic dTp0", "u", "t"},
		{"basic OnQ=", "", "t"},
		{"Basic OnQ", "", "t"},
		{"Basic dXNlcjpwOnE=", "user", "p:q"},
		{"Basic dTo=", "u", ""},
		{"Bearer", "", NULL},
		{"Bearer ", "", NULL},
		{"Basic", "", NULL},
		{"Basic ****", "", NULL},
		{"Basic dXNlcg==", "", NULL}, /* no colon */
		{"Basic d=Tp0", "", NULL},
		{"Digest dTp0", "", NULL},
		{"Basicd dTp0", "", NULL},
		{"abc", "", NULL},
		{"", "", NULL},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char space[64];
		struct span user, token, value = span_of(rows[i].value);
		bool found = token_read_header(value, space, value.len, &user, &token);
		if (found != (rows[i].token != NULL))
			fail_msg("%s", rows[i].value);
		if (found && (!span_is(user, rows[i].user) || !span_is(token, rows[i].token)))
			fail_msg("%s", rows[i].value);
	}
	char small[3];
	struct span user, token;
	assert_false(token_read_header(SPAN("Basic dXNlcjpw"), small, sizeof small, &user, &token));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_without_a_file_everybody_may_ask, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_files_word_is_the_token, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_no_token_shuts, begin, finish),
		cmocka_unit_test_setup_teardown(test_no_regular_file_of_a_bearable_length_shuts, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_link_that_is_swapped_is_noticed, begin, finish),
		cmocka_unit_test(test_headers_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
