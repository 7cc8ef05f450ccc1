/* test_addr2line.c - what is printed for addresses, option by option, as addr2line -i prints it.
 *
 * Runs in: its own process. The object is made up here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/addr2line.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/symbolize/addr2line.h"
#include "encoder/symbolize/demangle.h"
#include "test/unit/support/count.h"

static const struct frame inlined[] = {{"twice", "_Z5twicei", "/src/lib/a.h", 12, 10}, {"main", "main", "b.c", 7, 0}};
static const struct frame symbol_only[] = {{"start", "start", "", 0, 0}};
static const struct frame file_only[] = {{"??", "", "/src/c.c", 0, 0}};
static unsigned lookups;

/* Backwards: any order is allowed. */
void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	(void)o;
	lookups++;
	while (count--) {
		struct answer a = {.address = addresses[count]};
		if (a.address == 0x10)
			a = (struct answer){.address = a.address, .start = 0x10, .count = 2, .frame = inlined};
		else if (a.address == 0x20)
			a = (struct answer){.address = a.address, .start = 0x20, .count = 1, .frame = symbol_only};
		else if (a.address == 0x30)
			a = (struct answer){.address = a.address, .start = 0, .count = 1, .frame = file_only};
		tell(arg, &a);
	}
}

char *demangle(const char *name, bool whole)
{
	assert_true(whole);
	return strcmp(name, "_Z5twicei") == 0 ? strdup("twice(int)") : NULL;
}

static void test_only_hexadecimal_numbers_are_addresses(void **state)
{
	static const struct {
		const char *text;
		bool good;
		uint64_t address;
	} rows[] = {
		{"0", true, 0},
		{"10", true, 0x10},
		{"0x10", true, 0x10},
		{"0XaF", true, 0xaf},
		{"ffffffffffffffff", true, UINT64_MAX},
		{"", false, 0},
		{"-1", false, 0},
		{"+1", false, 0},
		{" 1", false, 0},
		{"1 ", false, 0},
		{"main", false, 0},
		{"0x", false, 0},
		{"10g", false, 0},
		{"10000000000000000", false, 0},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t address = 0;
		if (by_hand_parse(rows[i].text, &address) != rows[i].good ||
		    (rows[i].good && address != rows[i].address))
			fail_msg("\"%s\" is %d, %llx", rows[i].text, !rows[i].good, (unsigned long long)address);
	}
}

static void test_each_option_prints_what_addr2line_prints(void **state)
{
	static const struct {
		struct by_hand how;
		const char *want;
	} rows[] = {
		{{0}, "/src/lib/a.h:12\nb.c:7\n??:?\n/src/c.c:?\n??:0\n/src/lib/a.h:12\nb.c:7\n"},
		{{.base_names = true}, "a.h:12\nb.c:7\n??:?\nc.c:?\n??:0\na.h:12\nb.c:7\n"},
		{{.functions = true},
	         "_Z5twicei\n/src/lib/a.h:12\nmain\nb.c:7\nstart\n??:?\n??\n/src/c.c:?\n??\n??:0\n"
	         "_Z5twicei\n/src/lib/a.h:12\nmain\nb.c:7\n"},
		{{.functions = true, .demangle = true},
	         "twice(int)\n/src/lib/a.h:12\nmain\nb.c:7\nstart\n??:?\n??\n/src/c.c:?\n??\n??:0\n"
	         "twice(int)\n/src/lib/a.h:12\nmain\nb.c:7\n"},
		{{.demangle = true}, "/src/lib/a.h:12\nb.c:7\n??:?\n/src/c.c:?\n??:0\n/src/lib/a.h:12\nb.c:7\n"},
		{{.addresses = true},
	         "0x0000000000000010\n/src/lib/a.h:12\nb.c:7\n0x0000000000000020\n??:?\n"
	         "0x0000000000000030\n/src/c.c:?\n0x0000000000000040\n??:0\n0x0000000000000010\n/src/lib/"
	         "a.h:12\nb.c:7\n"},
		{{.pretty = true},
	         "/src/lib/a.h:12\n (inlined by) b.c:7\n??:?\n/src/c.c:?\n??:0\n/src/lib/a.h:12\n (inlined by) "
	         "b.c:7\n"},
		{{.pretty = true, .functions = true, .addresses = true, .demangle = true, .base_names = true},
	         "0x0000000000000010: twice(int) at a.h:12\n (inlined by) main at b.c:7\n0x0000000000000020: start at "
	         "??:?\n"
	         "0x0000000000000030: ?? at c.c:?\n0x0000000000000040: ?? ??:0\n"
	         "0x0000000000000010: twice(int) at a.h:12\n (inlined by) main at b.c:7\n"},
	};
	static const uint64_t addresses[] = {0x10, 0x20, 0x30, 0x40, 0x10};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *got;
		size_t len;
		FILE *out = open_memstream(&got, &len);
		assert_true(by_hand_print(&rows[i].how, NULL, addresses, COUNT(addresses), out));
		fclose(out);
		assert_string_equal(got, rows[i].want);
		free(got);
	}
}

static char *print_lines(const void *bytes, size_t n)
{
	char *got;
	size_t len;
	int in = memfd_create("lines", MFD_CLOEXEC);
	assert_int_equal(write(in, bytes, n), n);
	lseek(in, 0, SEEK_SET);
	FILE *out = open_memstream(&got, &len);
	assert_int_equal(by_hand_lines(&(struct by_hand){0}, NULL, in, out), 0);
	fclose(out);
	close(in);
	return got;
}

static void test_each_line_gets_its_answer(void **state)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{"", ""},
		{"\n", "??:0\n"},
		{"20", "??:?\n"},
		{"0x20 and more\nnothing\n\n30\r\n", "??:?\n??:0\n??:0\n/src/c.c:?\n"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *got = print_lines(rows[i].in, strlen(rows[i].in));
		assert_string_equal(got, rows[i].want);
		free(got);
	}
}

static void test_many_lines_are_looked_up_together_and_none_is_lost(void **state)
{
	enum { N = 100001 };
	char *in = malloc(3 * N), *at = in;
	size_t lines = 0;
	(void)state;
	for (int i = 0; i < N; i++)
		at = stpcpy(at, i % 2 ? "20\n" : "3\n");
	lookups = 0;
	char *got = print_lines(in, (size_t)(at - in));
	assert_in_range(lookups, 1, 10);
	for (const char *p = got; *p; p += 5, lines++)
		assert_memory_equal(p, lines % 2 ? "??:?\n" : "??:0\n", 5);
	assert_int_equal(lines, N);
	free(in);
	free(got);
	in = calloc(1, 200000); /* a line without end, of NULs */
	got = print_lines(in, 200000);
	assert_string_equal(got, "??:0\n??:0\n??:0\n??:0\n");
	free(in);
	free(got);
}

/* A debugger holds the program and asks for one line after another. */
static void test_a_line_is_answered_before_the_next_one_comes(void **state)
{
	int in[2], out[2], status;
	(void)state;
	assert_int_equal(pipe(in) | pipe(out), 0);
	pid_t child = fork();
	if (child == 0) {
		close(in[1]);
		_exit(by_hand_lines(&(struct by_hand){0}, NULL, in[0], fdopen(out[1], "w")) == 0 ? 0 : 1);
	}
	for (int i = 0; i < 3; i++) {
		char buf[16];
		assert_int_equal(write(in[1], "20\n", 3), 3);
		assert_int_equal(poll(&(struct pollfd){.fd = out[0], .events = POLLIN}, 1, 10000), 1);
		assert_int_equal(read(out[0], buf, sizeof buf), 5);
	}
	close(in[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(in[0]), close(out[0]), close(out[1]);
	assert_int_equal(by_hand_lines(&(struct by_hand){0}, NULL, -1, stdout), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_hexadecimal_numbers_are_addresses),
		cmocka_unit_test(test_each_option_prints_what_addr2line_prints),
		cmocka_unit_test(test_each_line_gets_its_answer),
		cmocka_unit_test(test_many_lines_are_looked_up_together_and_none_is_lost),
		cmocka_unit_test(test_a_line_is_answered_before_the_next_one_comes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
