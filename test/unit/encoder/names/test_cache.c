/* test_cache.c - what is known of addresses: by the identity of files, each text once, within the cap. And the table of
 * texts that it is made of.
 *
 * Runs in: its own process, with children.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c shim/base/text.c shim/base/arena.c
 * links: shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/bytes/intern.h"
#include "encoder/names/cache.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#define SPAN_OF(array, n) ((struct span){(const char *)(array), (n)})

enum { MIB = 1 << 20 };

static int forget(void **state)
{
	(void)state;
	arena_set_limit(256 * MIB);
	cache_start(256 * MIB);
	return 0;
}

static struct name_frame frame_of(const char *function, const char *system, const char *file, uint32_t line)
{
	return (struct name_frame){span_of(function), span_of(system), span_of(file), line, line / 2};
}

static void put(const struct object *o, uint64_t address, const char *function, bool complete)
{
	struct name_frame f = frame_of(function, function, "/src/a.c", 12);
	cache_put(o, address, address & ~UINT64_C(15), &f, 1, complete);
}

static bool is_called(const struct object *o, uint64_t address, const char *function)
{
	const struct cached *c = cache_find(o, address);
	return c && c->count == 1 && c->address == address && c->object == o && span_is(c->frame->function, function);
}

/* --- objects --------------------------------------------------------------------------------------- */

static void test_a_file_is_the_same_object_wherever_it_is_loaded(void **state)
{
	(void)state;
	static struct module a = {.path = "/lib/a", .bias = 4096, .build_id = {1, 2, 3, 4}, .build_id_len = 4};
	static struct module b = {.path = "/other/b", .bias = 8192, .build_id = {1, 2, 3, 4}, .build_id_len = 4};
	static struct module shorter = {.path = "/lib/a", .build_id = {1, 2, 3, 4}, .build_id_len = 3};
	static struct module other = {.path = "/lib/a", .build_id = {1, 2, 3, 5}, .build_id_len = 4};
	struct object *o = cache_object(&a);
	assert_non_null(o);
	assert_ptr_equal(cache_object(&a), o);
	assert_ptr_equal(cache_object(&b), o);
	assert_ptr_not_equal(cache_object(&shorter), o);
	assert_ptr_not_equal(cache_object(&other), o);
	assert_ptr_not_equal(cache_object(&other), cache_object(&shorter));
	assert_int_equal(o->again_ns, 0);
	put(o, 0x10, "f", true);
	assert_true(is_called(cache_object(&b), 0x10, "f"));
	assert_null(cache_find(cache_object(&other), 0x10));
	cache_object(&b)->again_ns = 77;
	assert_int_equal(cache_object(&a)->again_ns, 77);
}

static void test_a_module_without_a_build_id_is_an_object_of_its_own(void **state)
{
	(void)state;
	static struct module m[200]; /* more than are at hand */
	struct object *o[COUNT(m)];
	for (size_t i = 0; i < COUNT(m); i++) {
		m[i].path = "/lib/the/same";
		o[i] = cache_object(&m[i]);
		assert_non_null(o[i]);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(o[i], o[k]);
	}
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT(m); i++)
			assert_ptr_equal(cache_object(&m[i]), o[i]);
	for (size_t i = 0; i < COUNT(m); i++) {
		char name[16];
		snprintf(name, sizeof name, "f%zu", i);
		put(o[i], 0x1000, name, i % 2);
	}
	for (size_t i = 0; i < COUNT(m); i++) {
		char name[16];
		snprintf(name, sizeof name, "f%zu", i);
		assert_true(is_called(o[i], 0x1000, name));
		assert_int_equal(cache_find(o[i], 0x1000)->complete, i % 2);
	}
}

static void test_the_longest_build_id_counts_to_its_end(void **state)
{
	(void)state;
	static struct module m[32];
	struct object *o[COUNT(m)];
	for (size_t i = 0; i < COUNT(m); i++) {
		memset(m[i].build_id, 0xee, sizeof m[i].build_id);
		m[i].build_id[i] = 0;
		m[i].build_id_len = sizeof m[i].build_id;
		o[i] = cache_object(&m[i]);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(o[i], o[k]);
	}
	static struct module again;
	again = m[31];
	assert_ptr_equal(cache_object(&again), o[31]);
}

/* --- addresses ------------------------------------------------------------------------------------- */

static struct module plain = {.path = "/lib/plain", .build_id = {9}, .build_id_len = 1};

static void test_frames_and_texts_are_copies(void **state)
{
	(void)state;
	struct object *o = cache_object(&plain);
	char function[] = "f(int)", system[] = "_Z1fi", file[] = "/src/a.c";
	struct name_frame f[] = {frame_of(function, system, file, 12), frame_of("main", "", "", 0),
	                         frame_of("end", "end", "/b", UINT32_MAX)};
	cache_put(o, 0x1234, 0x1200, f, COUNT(f), true);
	memset(function, 'x', sizeof function);
	memset(system, 'x', sizeof system);
	memset(file, 'x', sizeof file);
	memset(f, 0x55, sizeof f);
	const struct cached *c = cache_find(o, 0x1234);
	assert_non_null(c);
	assert_int_equal(c->start, 0x1200);
	assert_int_equal(c->count, 3);
	assert_true(c->complete);
	assert_true(span_is(c->frame[0].function, "f(int)") && span_is(c->frame[0].system, "_Z1fi") &&
	            span_is(c->frame[0].file, "/src/a.c"));
	assert_int_equal(c->frame[0].line, 12);
	assert_int_equal(c->frame[0].start_line, 6);
	assert_true(span_is(c->frame[1].function, "main") && !c->frame[1].system.len && !c->frame[1].file.len);
	assert_true(span_is(c->frame[2].function, "end") && c->frame[2].line == UINT32_MAX);
	assert_null(cache_find(o, 0x1233));
	assert_null(cache_find(NULL, 0x1234));
}

static void test_nothing_known_is_knowledge_too(void **state)
{
	(void)state;
	struct object *o = cache_object(&plain);
	assert_null(cache_find(o, 0));
	cache_put(o, 0, 0, NULL, 0, true);
	cache_put(o, UINT64_MAX, 0, NULL, 0, false);
	assert_true(cache_find(o, 0) && cache_find(o, 0)->count == 0 && cache_find(o, 0)->complete);
	assert_true(cache_find(o, UINT64_MAX) && cache_find(o, UINT64_MAX)->count == 0 &&
	            !cache_find(o, UINT64_MAX)->complete);
}

static void test_what_is_complete_takes_the_place_of_what_is_not(void **state)
{
	(void)state;
	struct object *o = cache_object(&plain);
	put(o, 0x10, "by_table", false);
	const struct cached *before = cache_find(o, 0x10);
	assert_false(before->complete);
	put(o, 0x20, "neighbour", false);
	struct name_frame f[] = {frame_of("inlined", "inlined", "/a", 1), frame_of("outer", "outer", "/a", 2)};
	cache_put(o, 0x10, 0x8, f, 2, true);
	const struct cached *c = cache_find(o, 0x10);
	assert_true(c->complete);
	assert_int_equal(c->count, 2);
	assert_int_equal(c->start, 0x8);
	assert_true(span_is(c->frame[0].function, "inlined") && span_is(c->frame[1].function, "outer"));
	assert_ptr_equal(c, before); /* no second one */
	assert_true(is_called(o, 0x20, "neighbour"));
	cache_put(o, 0x10, 0, NULL, 0, true);
	assert_int_equal(cache_find(o, 0x10)->count, 0);
	assert_true(is_called(o, 0x20, "neighbour"));
}

static void test_many_addresses_of_many_objects_are_kept_apart(void **state)
{
	enum { N = 30000 };
	(void)state;
	static struct module m[10];
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "f%d", i);
		put(cache_object(&m[i % COUNT(m)]), (uint64_t)i / COUNT(m) * (i % 3 ? 16 : 4096), name, true);
	}
	for (int i = 0; i < N; i++) {
		uint64_t address = (uint64_t)i / COUNT(m) * (i % 3 ? 16 : 4096);
		const struct cached *c = cache_find(cache_object(&m[i % COUNT(m)]), address);
		assert_non_null(c);
		assert_int_equal(c->address, address);
		assert_int_equal(atoi(c->frame->function.at + 1) % COUNT(m), i % COUNT(m));
	}
}

static void test_the_same_text_is_kept_once(void **state)
{
	(void)state;
	struct object *o = cache_object(&plain);
	for (uint64_t a = 0; a < 100; a++) {
		char function[] = "the_same", file[] = "/the/same.c";
		struct name_frame f[] = {frame_of(function, function, file, (uint32_t)a),
		                         frame_of("other", "the_same", file, 0)};
		cache_put(o, a, 0, f, 2, true);
	}
	const struct name_frame *first = cache_find(o, 0)->frame;
	assert_ptr_equal(first[0].function.at, first[0].system.at);
	assert_ptr_equal(first[0].function.at, first[1].system.at);
	for (uint64_t a = 0; a < 100; a++) {
		const struct name_frame *f = cache_find(o, a)->frame;
		assert_ptr_equal(f[0].function.at, first[0].function.at);
		assert_ptr_equal(f[0].file.at, first[0].file.at);
		assert_ptr_equal(f[1].file.at, first[0].file.at);
		assert_ptr_equal(f[1].function.at, first[1].function.at);
	}
}

static void test_texts_are_lines_of_utf8(void **state)
{
	static const char *const rows[][2] = {
		{"plain", "plain"},   {"\xc3\xa4", "\xc3\xa4"}, {"a\xff", "a?"},
		{"\x1b[0m", "?[0m"},  {"a\tb\nc", "a?b?c"},     {"\x7f", "?"},
		{"\xc2\x85", "\?\?"},
	};
	(void)state;
	struct object *o = cache_object(&plain);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT(rows); i++) {
			struct name_frame f = frame_of(rows[i][0], rows[i][0], rows[i][0], 0);
			cache_put(o, i, 0, &f, 1, true);
			const struct name_frame *kept = cache_find(o, i)->frame;
			assert_true(span_is(kept->function, rows[i][1]) && span_is(kept->system, rows[i][1]) &&
			            span_is(kept->file, rows[i][1]));
		}
	struct name_frame f = {.function = {"a\0b", 3}};
	cache_put(o, 100, 0, &f, 1, true);
	assert_true(span_is(cache_find(o, 100)->frame->function, "a?b"));
}

/* A text that is found by its bytes as they came is made a line only once. */
static void test_a_text_that_is_no_utf8_is_kept_once_too(void **state)
{
	(void)state;
	struct object *o = cache_object(&plain);
	static char name[20001];
	memset(name, 'x', sizeof name - 1);
	name[7] = '\xff';
	struct name_frame f = frame_of(name, name, name, 0);
	cache_put(o, 0, 0, &f, 1, true);
	uint64_t before = arena_mapped_bytes();
	for (uint64_t a = 0; a < 300; a++)
		cache_put(o, a, 0, &f, 1, true);
	assert_in_range(arena_mapped_bytes() - before, 0, MIB);
}

/* --- its share of the memory ----------------------------------------------------------------------- */

static void test_forgetting_gives_all_back(void **state)
{
	(void)state;
	uint64_t before = arena_mapped_bytes();
	for (int round = 0; round < 3; round++) {
		struct object *o = cache_object(&plain);
		for (uint64_t a = 0; a < 5000; a++)
			put(o, a, "f", true);
		assert_true(arena_mapped_bytes() > before);
		cache_trim(); /* it is small */
		assert_true(is_called(o, 4999, "f"));
		cache_forget();
		assert_int_equal(arena_mapped_bytes(), before);
		assert_null(cache_find(cache_object(&plain), 1));
		cache_forget();
	}
}

static void test_a_large_one_begins_anew_when_it_is_trimmed(void **state)
{
	(void)state;
	uint64_t before = arena_mapped_bytes();
	struct object *o = cache_object(&plain);
	for (uint64_t a = 0; a < 200 * 1000; a++)
		put(o, a, "f", true);
	assert_true(is_called(o, 0, "f"));
	assert_in_range(arena_mapped_bytes() - before, 16 * MIB,
	                40 * MIB); /* it has gone over its share, but not without end */
	cache_trim();
	assert_int_equal(arena_mapped_bytes(), before);
	assert_null(cache_find(cache_object(&plain), 0));
	o = cache_object(&plain);
	static char text[100000];
	memset(text, 'x', sizeof text - 1);
	for (uint64_t a = 0; a < 500; a++) { /* texts count, too */
		snprintf(text, 16, "%d", (int)a);
		text[strlen(text)] = '_';
		put(o, a, text, true);
	}
	assert_in_range(arena_mapped_bytes() - before, 16 * MIB, 40 * MIB);
	assert_true(is_called(o, 0, cache_find(o, 0)->frame->function.at));
	cache_trim();
	assert_null(cache_find(cache_object(&plain), 0));
}

static void test_its_share_is_a_part_of_the_cap(void **state)
{
	static const uint64_t limits[] = {0, 2 * MIB, 16 * MIB, 64 * MIB};
	(void)state;
	for (size_t i = 0; i < COUNT(limits); i++) {
		uint64_t before = arena_mapped_bytes();
		cache_start(limits[i]);
		for (uint64_t a = 0; a < 100 * 1000; a++) {
			struct name_frame f[] = {frame_of("f", "f", "/src/a.c", 1), frame_of("g", "g", "/src/a.c", 2)};
			cache_put(cache_object(&plain), a, 0, f, 2, true);
		}
		assert_in_range(arena_mapped_bytes() - before, 0, limits[i] / 8 * 5 / 2 + MIB / 4);
		cache_trim();
		assert_in_range(arena_mapped_bytes() - before, 0, limits[i] / 8 + MIB / 4);
		cache_forget();
	}
}

static void fill_to_the_cap(void)
{
	arena_set_limit(arena_mapped_bytes() + 2 * MIB);
	struct object *o = cache_object(&plain);
	CHECK(o);
	uint64_t kept = 0;
	char name[2000];
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	for (uint64_t a = 0; a < 5000; a++) {
		snprintf(name, 16, "%d", (int)a);
		name[strlen(name)] = '_';
		put(o, a, name, true);
		kept += cache_find(o, a) != NULL;
		CHECK(!cache_find(o, a) || is_called(o, a, name));
	}
	CHECK(kept > 200 && kept < 5000);
	/* what is known stays when there is no memory for what would replace it */
	uint64_t some = 0;
	while (!cache_find(o, some))
		some++;
	const struct cached *c = cache_find(o, some);
	struct name_frame before = *c->frame;
	static char large[200000];
	memset(large, 'y', sizeof large - 1);
	put(o, some, large, false);
	CHECK(cache_find(o, some) == c && c->complete && memcmp(c->frame, &before, sizeof before) == 0);
	put(o, 1 << 20, large, false);
	CHECK(!cache_find(o, 1 << 20));
	cache_forget();
	o = cache_object(&plain);
	put(o, 1, "f", true);
	CHECK(is_called(o, 1, "f"));
}

static void test_without_memory_nothing_more_is_remembered(void **state)
{
	(void)state;
	in_child(fill_to_the_cap);
}

static void lack_memory_for_objects(void)
{
	static struct module m[20000];
	size_t found = 0;
	arena_set_limit(arena_mapped_bytes() + 256 * 1024);
	for (size_t i = 0; i < COUNT(m); i++)
		found += cache_object(&m[i]) != NULL;
	CHECK(found > 100 && found < COUNT(m));
	CHECK(!cache_object(&m[COUNT(m) - 1]));
	CHECK(!cache_find(cache_object(&m[COUNT(m) - 1]), 0));
	CHECK(cache_object(&m[0]));
	cache_forget();
	CHECK(cache_object(&m[COUNT(m) - 1]));
}

static void test_without_memory_an_object_is_none(void **state)
{
	(void)state;
	in_child(lack_memory_for_objects);
}

/* However small the cap: what is remembered is trimmed before it takes the memory of requests. */
static void leave_some(void)
{
	enum { LIMIT = 16 * MIB };
	arena_set_limit(arena_mapped_bytes() + LIMIT);
	cache_start(LIMIT);
	for (uint64_t a = 0; a < 300 * 1000; a++) {
		char name[64];
		if (a % 1000 == 0)
			cache_trim();
		snprintf(name, sizeof name, "f%d", (int)(a % 20000));
		struct name_frame f[] = {frame_of(name, name, "/src/a.c", 1), frame_of(name, "main", "/src/b.c", 2),
		                         frame_of("main", "main", "/src/b.c", 3)};
		cache_put(cache_object(&plain), a, 0, f, COUNT(f), true);
	}
	cache_trim();
	struct region r = {0};
	CHECK(region_alloc(&r, arena_requests_bytes() / 4));
}

static void test_requests_find_memory_beside_it(void **state)
{
	(void)state;
	in_child(leave_some);
}

/* --- the table of texts ---------------------------------------------------------------------------- */

static void test_intern_key_finds_the_bytes_that_are_kept(void **state)
{
	(void)state;
	struct region r = {0};
	struct intern t = {0};
	bool is_new;
	assert_null(intern_key(&t, SPAN("a")).at); /* an empty table */
	static const char a[] = "alpha", b[] = "be\0ta";
	assert_int_equal(intern(&t, &r, SPAN_OF(a, 5), &is_new), 0);
	assert_int_equal(intern(&t, &r, SPAN_OF(b, 5), &is_new), 1);
	char copy[] = "alpha";
	struct span found = intern_key(&t, SPAN_OF(copy, 5));
	assert_ptr_equal(found.at, a);
	assert_int_equal(found.len, 5);
	assert_ptr_equal(intern_key(&t, SPAN_OF("be\0ta", 5)).at, b);
	static const struct span none[] = {{"alph", 4}, {"alphaa", 6}, {"be", 2}, {"be\0tb", 5}, {"", 0}, {"beta", 4}};
	for (size_t i = 0; i < COUNT(none); i++) {
		found = intern_key(&t, none[i]);
		assert_null(found.at);
		assert_int_equal(found.len, 0);
	}
	assert_int_equal(t.count, 2); /* asking adds nothing */
	assert_int_equal(intern(&t, &r, SPAN_OF(copy, 5), &is_new), 0);
	assert_false(is_new);
	assert_ptr_equal(intern_key(&t, SPAN_OF("alpha", 5)).at, a); /* the first one stays */
	region_release(&r);
}

static void test_intern_key_finds_all_while_the_table_grows(void **state)
{
	enum { N = 20000 };
	(void)state;
	struct region r = {0};
	struct intern t = {0};
	uint32_t *key = region_alloc(&r, N * sizeof *key);
	for (uint32_t i = 0; i < N; i++) {
		bool is_new;
		key[i] = i * 2654435761u;
		assert_null(intern_key(&t, SPAN_OF(&key[i], 4)).at);
		assert_int_equal(intern(&t, &r, SPAN_OF(&key[i], 4), &is_new), i);
	}
	for (uint32_t i = 0; i < N; i++) {
		uint32_t copy = key[i];
		assert_ptr_equal(intern_key(&t, SPAN_OF(&copy, 4)).at, &key[i]);
	}
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_file_is_the_same_object_wherever_it_is_loaded, forget),
		cmocka_unit_test_setup(test_a_module_without_a_build_id_is_an_object_of_its_own, forget),
		cmocka_unit_test_setup(test_the_longest_build_id_counts_to_its_end, forget),
		cmocka_unit_test_setup(test_frames_and_texts_are_copies, forget),
		cmocka_unit_test_setup(test_nothing_known_is_knowledge_too, forget),
		cmocka_unit_test_setup(test_what_is_complete_takes_the_place_of_what_is_not, forget),
		cmocka_unit_test_setup(test_many_addresses_of_many_objects_are_kept_apart, forget),
		cmocka_unit_test_setup(test_the_same_text_is_kept_once, forget),
		cmocka_unit_test_setup(test_texts_are_lines_of_utf8, forget),
		cmocka_unit_test_setup(test_a_text_that_is_no_utf8_is_kept_once_too, forget),
		cmocka_unit_test_setup(test_forgetting_gives_all_back, forget),
		cmocka_unit_test_setup(test_a_large_one_begins_anew_when_it_is_trimmed, forget),
		cmocka_unit_test_setup(test_its_share_is_a_part_of_the_cap, forget),
		cmocka_unit_test_setup(test_without_memory_nothing_more_is_remembered, forget),
		cmocka_unit_test_setup(test_without_memory_an_object_is_none, forget),
		cmocka_unit_test_setup(test_requests_find_memory_beside_it, forget),
		cmocka_unit_test(test_intern_key_finds_the_bytes_that_are_kept),
		cmocka_unit_test(test_intern_key_finds_all_while_the_table_grows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
