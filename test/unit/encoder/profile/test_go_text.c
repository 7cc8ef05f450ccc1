/* test_go_text.c - names, files and states as the readers of Go's dumps accept them.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/profile/go_text.c encoder/bytes/out.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encoder/profile/go_text.h"
#include "test/unit/support/count.h"

static struct region region;
static char text[16 * 1024];

static struct out begin(void)
{
	struct out o;
	out_init(&o, &region);
	return o;
}

static const char *finish(const struct out *o)
{
	size_t at = 0;
	assert_false(o->failed);
	assert_true(o->len < sizeof text);
	for (const struct out_chunk *c = o->first; c; at += c->used, c = c->next)
		memcpy(text + at, c->bytes, c->used);
	text[at] = '\0';
	region_release(&region);
	return text;
}

static void test_a_name_has_no_parenthesis_in_another_and_nothing_that_readers_decode(void **state)
{
	static const struct {
		const char *name, *printed;
	} rows[] = {
		{"main", "main"},
		{"(anonymous namespace)::box<int, 3>::operator()", "(anonymous namespace)::box<int, 3>::operator()"},
		{"f<void (*)(int (*)())>", "f<void (*)(int [*][])>"},
		{"std::function<void (std::function<int ()>)>::operator()",
	         "std::function<void (std::function<int []>)>::operator()"},
		{"call<main::{lambda((anonymous namespace)::x)#1}>",
	         "call<main::{lambda([anonymous namespace]::x)#1}>"},
		{"Lazy:~f ) (", "Lazy:~f ] ["},
		{"((a)", "[(a)"},
		{"(a))", "(a)]"},
		{"box::operator%", "box::operator\xef\xbc\x85"},
		{"box::operator/", "box::operator\xe2\x88\x95"},
		{"a/b/c.d", "a/b/c.d"},
		{"JS:~f /x/y.js:1", "JS:~f /x/y.js:1"},
		{"node:internal/timers", "node:internal\xe2\x88\x95timers"},
		{"operator+", "operator+"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct out o = begin();
		go_text_function(&o, span_of(rows[i].name));
		assert_string_equal(finish(&o), rows[i].printed);
	}
}

static void test_a_long_name_is_cut_between_characters(void **state)
{
	(void)state;
	char name[12001];
	for (size_t shift = 0; shift < 3; shift++) {
		memset(name, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof name; i += 3)
			memcpy(name + i, "\xe2\x82\xac", 4);
		struct out o = begin();
		go_text_function(&o, span_of(name));
		finish(&o);
		assert_in_range(strlen(text), 4090, 4096);
		assert_int_equal((strlen(text) - shift) % 3, 0);
		assert_memory_equal(text, name, strlen(text));
	}
}

static void test_a_state_has_no_comma_and_no_bracket(void **state)
{
	(void)state;
	struct out o = begin();
	go_text_state(&o, SPAN("a, b [c]"));
	assert_string_equal(finish(&o), "a; b [c)");
}

static void test_a_place_is_one_for_every_reader(void **state)
{
	static const struct {
		const char *file;
		uint32_t line;
		const char *printed;
	} rows[] = {
		{"/src/a.c", 12, "/src/a.c:12"},
		{"/src/a.go", 1, "/src/a.go:1"},
		{"/src/a.s", 1, "/src/a.s:1"},
		{"/src/a.S", 3, "/src/a.S:3 .c:3"},
		{"/src/a.cc", 12, "/src/a.cc:12 .c:12"},
		{"/lib/libc.so.6", 0, "/lib/libc.so.6:0 .c:0"},
		{".c", 7, ".c:7 .c:7"},
		{"/src/a:1b.c", 2, "/src/a?1b.c:2"},
		{"/src/a:b.c", 2, "/src/a:b.c:2"},
		{"[jit]", 0, "[jit]:0 .c:0"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct out o = begin();
		go_text_place(&o, span_of(rows[i].file), rows[i].line);
		assert_string_equal(finish(&o), rows[i].printed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_name_has_no_parenthesis_in_another_and_nothing_that_readers_decode),
		cmocka_unit_test(test_a_long_name_is_cut_between_characters),
		cmocka_unit_test(test_a_state_has_no_comma_and_no_bracket),
		cmocka_unit_test(test_a_place_is_one_for_every_reader),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
