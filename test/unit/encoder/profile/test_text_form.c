/* test_text_form.c - debug=1 of the snapshot profiles, and the answer of /symbol, line by line.
 *
 * Runs in: its own process. Stubs: the list of modules.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/profile/text_form.c encoder/profile/threads_text.c encoder/profile/frames.c
 * links: encoder/profile/go_text.c encoder/bytes/intern.c encoder/names/names.c
 * links: encoder/names/site.c encoder/names/tails.c encoder/names/ways.c
 * links: encoder/names/cache.c encoder/names/symbolizer.c encoder/names/container.c encoder/names/jit.c
 * links: shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c
 * links: encoder/names/elf_symbols.c encoder/names/maps.c
 * links: encoder/profile/rows.c encoder/bytes/sort.c encoder/bytes/out.c encoder/bytes/utf8.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "encoder/encoder.h"
#include "test/unit/encoder/profile/modules_made.h"

static struct {
	struct stack head;
	uintptr_t pc[3];
} a, b;

static int start(void **state)
{
	(void)state;
	find_modules();
	a.head.depth = 2;
	a.pc[0] = (uintptr_t)known_function_of_the_test + 1;
	a.pc[1] = 0x11080;
	b.head.depth = 1;
	b.pc[0] = 0x9010;
	return 0;
}

static char *join(const struct out *o)
{
	char *all = calloc(1, o->len + 1);
	size_t at = 0;
	for (const struct out_chunk *c = o->first; c; at += c->used, c = c->next)
		memcpy(all + at, c->bytes, c->used);
	assert_int_equal(at, o->len);
	return all;
}

static char *encode(const struct profile_snapshot *s)
{
	struct region r = {0};
	struct out o;
	out_init(&o, &r);
	assert_int_equal(profile_encode_text(&r, &o, s, 1, NULL), 0);
	char *all = join(&o);
	region_release(&r);
	return all;
}

/* The part before the memory map, which is this machine's. */
static void expect_text(char *all, const char *want)
{
	static const char mark[] = "\n--- Memory map: ---\n";
	char *map = strstr(all, mark);
	assert_non_null(map);
	assert_non_null(strstr(map, "[stack]"));
	*map = '\0';
	assert_string_equal(all, want);
	free(all);
}

static struct heap_row rows[2];

static struct profile_snapshot heap(enum profile_kind kind)
{
	rows[0] = (struct heap_row){&a.head, 16, {3, 48, 1, 16}, {300, 4800, 100, 1600}};
	rows[1] = (struct heap_row){&b.head, 4096, {1, 4000, 1, 4000}, {128, 512000, 128, 512000}};
	return (struct profile_snapshot){
		.kind = kind, .heap = {.rate_bytes = 524288, .max_rss_bytes = 999424, .count = 2, .rows = rows}};
}

static void test_heap_text_has_raw_values_return_addresses_and_names(void **state)
{
	(void)state;
	char want[1000];
	struct profile_snapshot s = heap(PROFILE_HEAP);
	snprintf(want, sizeof want,
	         "heap profile: 2: 32 [4: 4049] @ heap/1048576\n"
	         "2: 32 [3: 48] @ 0x%lx 0x11081\n"
	         "#\t0x%lx\tknown_function_of_the_test+0x2\n"
	         "#\t0x11081\tlibfoo.so+0x1080\n\n"
	         "0: 0 [1: 4000] @ 0x9011\n"
	         "#\t0x9011\t[anonymous]+0x9010\n\n"
	         "\n# runtime.MemStats\n# Alloc = 3200\n# TotalAlloc = 516800\n# Mallocs = 428\n# Frees = 228\n"
	         "# HeapAlloc = 3200\n# HeapObjects = 200\n# MaxRSS = 999424\n",
	         (long)a.pc[0] + 1, (long)a.pc[0] + 1);
	expect_text(encode(&s), want);
}

/* In parts, as it goes out. */
static void test_a_large_text_is_made_in_parts_that_are_what_was_promised(void **state)
{
	enum { ROWS = 20000, PART_MOST = 256 * 1024 };
	static struct heap_row many[ROWS];
	(void)state;
	for (int i = 0; i < ROWS; i++)
		many[i] = (struct heap_row){&a.head, 16, {3, 48, 1, 16}, {300, 4800, 100, 1600}};
	struct profile_snapshot s = {.kind = PROFILE_HEAP, .heap = {.rate_bytes = 524288, .count = ROWS, .rows = many}};
	struct region r = {0}, part = {0};
	struct out o;
	out_init(&o, &r);
	assert_int_equal(profile_encode_text(&r, &o, &s, 1, NULL), 0);
	uint64_t left = o.len + o.more_bytes, rows_seen = 0;
	for (;; region_release(&part), out_make_part(&o, &part)) {
		char *text = join(&o);
		for (const char *at = text; (at = strstr(at, "2: 32 [3: 48] @")); at++)
			rows_seen++;
		assert_false(o.failed);
		assert_in_range(o.len, 1, PART_MOST);
		left -= o.len;
		free(text);
		if (!o.more)
			break;
	}
	assert_int_equal(left, 0);
	assert_int_equal(rows_seen, ROWS);
	region_release(&part);
	region_release(&r);
}

static void test_allocs_text_begins_with_what_allocated_most(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_ALLOCS);
	char *all = encode(&s), *second = strchr(all, '\n') + 1;
	assert_memory_equal(all, "heap profile: 2: 32 [4: 4049] @ heap/1048576\n", 45);
	assert_memory_equal(second, "0: 0 [1: 4000] @", 16);
	free(all);
}

static void test_an_empty_heap_text_is_a_header_that_readers_take_for_four_columns(void **state)
{
	(void)state;
	struct profile_snapshot s = {.kind = PROFILE_HEAP, .heap = {.rate_bytes = 1}};
	expect_text(encode(&s), "heap profile: 0: 0 [0: 1] @ heap/2\n\n# runtime.MemStats\n# Alloc = 0\n"
	                        "# TotalAlloc = 0\n# Mallocs = 0\n# Frees = 0\n# HeapAlloc = 0\n# HeapObjects = 0\n");
}

static void test_thread_text_is_sorted_by_count_with_labels_as_json(void **state)
{
	(void)state;
	struct thread_row t[] = {{&b.head, "quo\"te\\\x01", 1}, {&b.head, NULL, 5}, {&b.head, "b\xff", 2}};
	struct profile_snapshot s = {.kind = PROFILE_THREADCREATE, .threads = {.count = 3, .rows = t}};
	expect_text(encode(&s),
	            "threadcreate profile: total 8\n"
	            "5 @ 0x9011\n#\t0x9011\t[anonymous]+0x9010\n\n"
	            "2 @ 0x9011\n# labels: {\"thread\":\"b?\"}\n#\t0x9011\t[anonymous]+0x9010\n\n"
	            "1 @ 0x9011\n# labels: {\"thread\":\"quo\\\"te\\\\?\"}\n#\t0x9011\t[anonymous]+0x9010\n\n");
}

static void test_contention_text_begins_with_the_longest_delay(void **state)
{
	(void)state;
	char want[1000];
	a.pc[0]--; /* the call waited in, as an exact address */
	struct contention_row w[] = {
		{&b.head, 9, 1000}, {&a.head, 2, 5000000000}, {&b.head, 0, 999}, {&b.head, 1, 0}, {&b.head, 0, 0}};
	static const struct {
		enum profile_kind kind;
		const char *header;
	} kinds[] = {{PROFILE_BLOCK, "--- contention:\ncycles/second=1000000000\n"},
	             {PROFILE_MUTEX, "--- mutex:\ncycles/second=1000000000\nsampling period=1\n"}};
	for (size_t i = 0; i < 2; i++) {
		struct profile_snapshot s = {.kind = kinds[i].kind, .contention = {.count = 5, .rows = w}};
		snprintf(want, sizeof want,
		         "%s"
		         "5000000000 2 @ 0x%lx 0x11081\n"
		         "#\t0x%lx\tknown_function_of_the_test\n"
		         "#\t0x11081\tlibfoo.so+0x1080\n\n"
		         "1000 9 @ 0x9011\n#\t0x9011\t[anonymous]+0x9010\n\n"
		         "999 1 @ 0x9011\n#\t0x9011\t[anonymous]+0x9010\n\n" /* a row of 0 events would be none */
		         "0 1 @ 0x9011\n#\t0x9011\t[anonymous]+0x9010\n\n",
		         kinds[i].header, (long)a.pc[0] + 1, (long)a.pc[0] + 1);
		expect_text(encode(&s), want);
		s.contention.count = 0;
		expect_text(encode(&s), kinds[i].header);
	}
	a.pc[0]++;
}

static void test_goroutine_text_groups_stacks_and_ends_with_who_was_not_reached(void **state)
{
	(void)state;
	struct dump_thread t[] = {
		{.tid = 11, .name = "main", .state = "running", .stack = &a.head},
		{.tid = 12, .name = "de\naf\x1b", .state = "running", .reason = "it blocks every signal"},
		{.tid = 13, .name = "pool", .state = "poll", .stack = &b.head, .reason = "no unwind table"},
		{.tid = 14, .name = "pool", .state = "poll", .stack = &b.head},
		{.tid = 15, .name = "mute", .state = "?"},
	};
	char want[1000];
	struct profile_snapshot s = {.kind = PROFILE_GOROUTINE, .dump = {.count = 5, .threads = t}};
	snprintf(want, sizeof want,
	         "goroutine profile: total 3\n"
	         "2 @ 0x9011\n#\t0x9011\t[anonymous]+0x9010\n\n"
	         "1 @ 0x%lx 0x11081\n"
	         "#\t0x%lx\tknown_function_of_the_test+0x2\n"
	         "#\t0x11081\tlibfoo.so+0x1080\n\n"
	         "# thread 12 (de?af?) not reached: it blocks every signal\n"
	         "# thread 15 (mute) not reached\n",
	         (long)a.pc[0] + 1, (long)a.pc[0] + 1);
	expect_text(encode(&s), want);
}

static void test_debug_2_of_goroutine_alone_is_a_dump(void **state)
{
	(void)state;
	struct dump_thread t = {.tid = 11, .name = "main", .state = "running", .since_ns = -1, .reason = "no"};
	struct profile_snapshot s[] = {{.kind = PROFILE_GOROUTINE, .dump = {.count = 1, .threads = &t}},
	                               heap(PROFILE_HEAP)};
	for (int i = 0; i < 2; i++) {
		struct region r = {0};
		struct out o;
		out_init(&o, &r);
		assert_int_equal(profile_encode_text(&r, &o, &s[i], 2 + i, NULL), 0);
		char *all = join(&o);
		assert_memory_equal(all, i ? "heap profile: " : "# thread main\n", 14);
		free(all);
		region_release(&r);
	}
}

/* The shapes that go tool pprof parses, of every line that is no comment. */
static void test_every_line_has_a_shape_that_pprof_parses(void **state)
{
	(void)state;
	regex_t heap_row, thread_row, contention_row;
	assert_int_equal(regcomp(&heap_row, "^[0-9]+: [0-9]+ \\[[0-9]+: [0-9]+\\] @( 0x[0-9a-f]+)+$", REG_EXTENDED), 0);
	assert_int_equal(regcomp(&thread_row, "^[0-9]+ @( 0x[0-9a-f]+)+$", REG_EXTENDED), 0);
	assert_int_equal(regcomp(&contention_row, "^[0-9]+ [0-9]+ @( 0x[0-9a-f]+)+$", REG_EXTENDED), 0);
	regex_t *const row[] = {&heap_row, &thread_row, &thread_row, &contention_row, &contention_row};
	struct thread_row t[] = {{&a.head, "x", 1}, {&b.head, NULL, 5}};
	struct contention_row c[] = {{&a.head, 1, 2}, {&b.head, 0, 2}};
	struct dump_thread d[] = {{.tid = 1, .name = "x\n1 @ 0x1", .stack = &a.head},
	                          {.tid = 2, .name = "y", .stack = &b.head},
	                          {.tid = 3, .name = "z\n1 @ 0x1"}};
	struct profile_snapshot s[] = {heap(PROFILE_HEAP),
	                               {.kind = PROFILE_THREADCREATE, .threads = {.count = 2, .rows = t}},
	                               {.kind = PROFILE_GOROUTINE, .dump = {.count = 3, .threads = d}},
	                               {.kind = PROFILE_BLOCK, .contention = {.count = 2, .rows = c}},
	                               {.kind = PROFILE_MUTEX, .contention = {.count = 2, .rows = c}}};
	for (int i = 0; i < 5; i++) {
		char *all = encode(&s[i]);
		*strstr(all, "\n--- Memory map") = '\0';
		int lines = 0;
		strtok(all, "\n");
		for (char *line; (line = strtok(NULL, "\n"));)
			if (line[0] != '#' && !strchr(line, '=')) {
				if (regexec(row[i], line, 0, NULL, 0) != 0)
					fail_msg("\"%s\"", line);
				lines++;
			}
		assert_int_equal(lines, 2);
		free(all);
	}
	regfree(&heap_row);
	regfree(&thread_row);
	regfree(&contention_row);
}

static void expect_symbols(const char *query, const char *want)
{
	struct region r = {0};
	struct out o;
	out_init(&o, &r);
	assert_int_equal(symbol_answer(&r, &o, span_of(query), NULL), 0);
	char *all = join(&o);
	if (strcmp(all, want) != 0)
		fail_msg("%s: \"%s\"", query, all);
	free(all);
	region_release(&r);
}

static void test_symbols_are_told_for_addresses_in_objects_alone(void **state)
{
	(void)state;
	char query[200], want[300];
	expect_symbols("", "num_symbols: 1\n");
	expect_symbols("0x11080", "num_symbols: 1\n0x11080 libfoo.so+0x1080\n");
	expect_symbols("69760", "num_symbols: 1\n0x11080 libfoo.so+0x1080\n"); /* base 0, as Go reads it */
	expect_symbols("0210200", "num_symbols: 1\n0x11080 libfoo.so+0x1080\n");
	expect_symbols("0X11080+0x11081", "num_symbols: 1\n0x11080 libfoo.so+0x1080\n0x11081 libfoo.so+0x1081\n");
	expect_symbols("0x11080+0x11080", "num_symbols: 1\n0x11080 libfoo.so+0x1080\n0x11080 libfoo.so+0x1080\n");
	expect_symbols("0x4000000000+nonsense++ +0x11080+-1+0xfffffffffffffffff+0xffffffffffffffff+0",
	               "num_symbols: 1\n0x11080 libfoo.so+0x1080\n");
	snprintf(query, sizeof query, "0x%lx+0x%lx+0x12000", (long)a.pc[0], (long)a.pc[0] - 1);
	snprintf(want, sizeof want,
	         "num_symbols: 1\n0x%lx known_function_of_the_test\n0x%lx known_function_of_the_test\n", (long)a.pc[0],
	         (long)a.pc[0] - 1);
	expect_symbols(query, want);
}

static void test_a_very_long_symbol_query_is_answered_whole(void **state)
{
	enum { N = 20000 };
	(void)state;
	struct region r = {0};
	struct out o;
	char *query = malloc(N * 8 + 1);
	for (int i = 0; i < N; i++)
		memcpy(query + 8 * i, "0x11080+", 9);
	out_init(&o, &r);
	assert_int_equal(symbol_answer(&r, &o, (struct span){query, 8 * N - 1}, NULL), 0);
	assert_int_equal(o.len, 15 + N * strlen("0x11080 libfoo.so+0x1080\n"));
	free(query);
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_text_has_raw_values_return_addresses_and_names),
		cmocka_unit_test(test_a_large_text_is_made_in_parts_that_are_what_was_promised),
		cmocka_unit_test(test_allocs_text_begins_with_what_allocated_most),
		cmocka_unit_test(test_an_empty_heap_text_is_a_header_that_readers_take_for_four_columns),
		cmocka_unit_test(test_thread_text_is_sorted_by_count_with_labels_as_json),
		cmocka_unit_test(test_contention_text_begins_with_the_longest_delay),
		cmocka_unit_test(test_goroutine_text_groups_stacks_and_ends_with_who_was_not_reached),
		cmocka_unit_test(test_debug_2_of_goroutine_alone_is_a_dump),
		cmocka_unit_test(test_every_line_has_a_shape_that_pprof_parses),
		cmocka_unit_test(test_symbols_are_told_for_addresses_in_objects_alone),
		cmocka_unit_test(test_a_very_long_symbol_query_is_answered_whole),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
