/* test_jit.c - names from /tmp/perf-<pid>.map: which line counts, what is no line, whose file is believed.
 *
 * Runs in: its own process, whose pid names the file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/jit.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/names/jit.h"
#include "test/unit/at_home.h"
#include "test/unit/support/count.h"

enum { PART = 48 * 1024, LIMIT = 64 << 20, NAME_MOST = 4096, NOBODY = 65534 };

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

/* --- the file --------------------------------------------------------------------------------------- */

static char map_path[64], target_path[80];

static int remove_map(void **state)
{
	(void)state;
	snprintf(map_path, sizeof map_path, "/tmp/perf-%d.map", (int)getpid());
	snprintf(target_path, sizeof target_path, "%s.target", map_path);
	unlink(target_path);
	if (unlink(map_path) && errno == EISDIR)
		rmdir(map_path);
	return 0;
}

static void write_at(const char *path, const void *text, size_t len, uint64_t at)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, len, (off_t)at), len);
	close(fd);
}

static void write_map(const void *text, size_t len)
{
	unlink(map_path);
	write_at(map_path, text, len, 0);
	assert_int_equal(chmod(map_path, 0644), 0);
}

static void write_text(const char *text)
{
	write_map(text, strlen(text));
}

/* --- questions -------------------------------------------------------------------------------------- */

static void expect_names(struct jit_query *q, size_t count, const char *const *names)
{
	struct region r = {0};
	assert_int_equal(jit_names(&r, q, count), 0);
	for (size_t i = 0; i < count; i++) {
		const char *name = names[i] ? names[i] : "";
		if (q[i].name.len != strlen(name) || memcmp(q[i].name.at ? q[i].name.at : "", name, q[i].name.len) != 0)
			fail_msg("%#lx is \"%.*s\", not \"%s\"", (unsigned long)q[i].address, (int)q[i].name.len,
			         q[i].name.at, name);
	}
	region_release(&r);
}

static void expect_name(uintptr_t address, const char *name)
{
	struct jit_query q = {.address = address};
	expect_names(&q, 1, &name);
}

static int status_of_map(void)
{
	struct region r = {0};
	struct jit_query q = {.address = 0x1008, .name = SPAN("stale"), .start = 1};
	int status = jit_names(&r, &q, 1);
	assert_int_equal(q.name.len, status ? 0 : strlen("name"));
	assert_int_equal(q.start, status ? 0 : 0x1000);
	region_release(&r);
	return status;
}

/* --- which line counts ------------------------------------------------------------------------------ */

static void test_an_address_has_the_name_of_the_code_around_it(void **state)
{
	(void)state;
	write_text("2000 10 second\n1000 20 first one\n3000 1 third\n");
	struct jit_query q[] = {{.address = 0},      {.address = 0xfff},  {.address = 0x1000},     {.address = 0x1000},
	                        {.address = 0x101f}, {.address = 0x1020}, {.address = 0x200f},     {.address = 0x2010},
	                        {.address = 0x3000}, {.address = 0x3001}, {.address = UINTPTR_MAX}};
	static const char *const names[] = {NULL,     NULL, "first one", "first one", "first one", NULL,
	                                    "second", NULL, "third",     NULL,        NULL};
	expect_names(q, COUNT(q), names);
	assert_int_equal(q[4].start, 0x1000);
	assert_int_equal(q[6].start, 0x2000);
	assert_int_equal(q[7].start, 0);
}

static void test_the_last_line_about_an_address_counts(void **state)
{
	(void)state;
	write_text("1000 100 old\n1000 100 new\n");
	expect_name(0x1080, "new");
	write_text("1000 100 old\n1040 10 inner\n"); /* the rest of old stays */
	struct jit_query q[] = {{.address = 0x103f}, {.address = 0x1040}, {.address = 0x104f}, {.address = 0x1050}};
	static const char *const names[] = {"old", "inner", "inner", "old"};
	expect_names(q, COUNT(q), names);
	write_text("1040 10 inner\n1000 100 all\n");
	static const char *const all[] = {"all", "all", "all", "all"};
	expect_names(q, COUNT(q), all);
	write_text("1000 48 low\n1040 100 high\n1049 1 one\n");
	static const char *const three[] = {"low", "high", "one", "high"};
	q[2].address = 0x1049;
	expect_names(q, COUNT(q), three);
}

static void test_what_is_a_line_and_what_is_none(void **state)
{
	static const struct {
		const char *line, *name; /* of 0x1008; NULL: the line is skipped */
	} rows[] = {
		{"1000 10 f", "f"},
		{"0x1000 0x10 f", "f"},
		{"0X1000 0X10 f", "f"},
		{"0x00007f0000000000 10 f", NULL},
		{"0000000000001000 0000000000000010 f", "f"},
		{"  1000   10   f  ", "f"},
		{"1000 10 LazyCompile:~spin /a b/c.js:12", "LazyCompile:~spin /a b/c.js:12"},
		{"FfF 1A f", "f"},
		{"1000 10 \xff\x01\xc3", "\xff\x01\xc3"},
		{"0 ffffffffffffffff f", "f"},
		{"1 fffffffffffffffe f", "f"},
		{"1000 10 10", "10"},
		{"", NULL},
		{" ", NULL},
		{"1000", NULL},
		{"1000 10", NULL},
		{"1000 10 ", NULL},
		{"1000 10   ", NULL},
		{"1000 0 f", NULL},
		{"1000 f", NULL},
		{"1000 8 f", NULL},
		{"1000 -10 f", NULL},
		{"-1000 10 f", NULL},
		{"+1000 10 f", NULL},
		{"0x 10 f", NULL},
		{"1000 0x f", NULL},
		{"0x0x1000 10 f", NULL},
		{"g000 10 f", NULL},
		{"1000 10h f", NULL},
		{"1000,10,f", NULL},
		{"1000 ffffffffffffffff f", NULL},
		{"1000 fffffffffffff000 f", NULL},
		{"1000 10000000000000000 f", NULL},
		{"10000000000001000 10 f", NULL},
		{"fffffffffffffff0 10 f", NULL},
		{"# 1000 10 f", NULL},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char text[256];
		snprintf(text, sizeof text, "1000 10 before\n%s\n", rows[i].line);
		write_text(text);
		expect_name(0x1008, rows[i].name ? rows[i].name : "before");
		snprintf(text, sizeof text, "%s\n2000 10 after\n", rows[i].line); /* and as the first line */
		write_text(text);
		expect_name(0x1008, rows[i].name);
	}
}

static void test_the_last_line_is_ignored_until_it_is_complete(void **state)
{
	static const char whole[] = "1000 10 one\n1000 100 other\n";
	(void)state;
	for (size_t len = 0; len < sizeof whole; len++) {
		write_map(whole, len);
		expect_name(0x1008, len < 12 ? NULL : len < sizeof whole - 1 ? "one" : "other");
	}
}

static void test_zero_bytes_are_no_line(void **state)
{
	static const char text[] = "1000 10 one\n\0\0\0\0\n1000\0 20 x\n";
	(void)state;
	write_map(text, sizeof text - 1);
	expect_name(0x1008, "one");
}

static void test_without_queries_nothing_is_asked(void **state)
{
	struct region r = {0};
	(void)state;
	write_text("1000 10 one\n");
	assert_int_equal(jit_names(&r, NULL, 0), 0);
	region_release(&r);
}

/* --- long lines, parts, the limit --------------------------------------------------------------------- */

/* A line of `len` bytes of name, between two others; `padding` behind them moves them against the parts. */
static void expect_long_name(size_t len, size_t padding)
{
	char *text = malloc(len + padding + 200), *name = malloc(len + 1);
	struct region r = {0};
	assert_true(text && name);
	for (size_t i = 0; i < len; i++)
		name[i] = (char)('a' + (i * 7 + i / 26) % 26);
	name[len] = '\0';
	size_t at = (size_t)sprintf(text, "1000 10 first\n2000 10 %s\n3000 10 last\n", name);
	memset(text + at, '#', padding);
	write_map(text, at + padding);
	struct jit_query q[] = {{.address = 0x1000}, {.address = 0x2000}, {.address = 0x3000}};
	assert_int_equal(jit_names(&r, q, COUNT(q)), 0);
	assert_true(q[0].name.len == 5 && q[2].name.len == 4);
	assert_int_equal(q[1].name.len, len < NAME_MOST ? len : NAME_MOST);
	assert_memory_equal(q[1].name.at, name, q[1].name.len);
	region_release(&r);
	free(text);
	free(name);
}

static void test_long_names_are_cut(void **state)
{
	static const size_t lengths[] = {1,    4000,     4095, 4096,     4097,          4400,
	                                 5000, PART - 1, PART, PART + 1, 3 * PART + 17, 2 << 20};
	(void)state;
	for (size_t i = 0; i < COUNT(lengths); i++) {
		expect_long_name(lengths[i], 0);
		expect_long_name(lengths[i], PART - 30);
	}
}

static void test_numbers_that_do_not_end_are_no_numbers(void **state)
{
	(void)state;
	char *text = malloc(2 * PART);
	assert_non_null(text);
	memset(text, '0', 2 * PART);
	memcpy(text, "1000 10 one\n", 12);
	memcpy(text + 2 * PART - 13, " 1000 10 two\n", 13);
	write_map(text, 2 * PART);
	expect_name(0x1000, "one");
	free(text);
}

static void test_lines_lie_across_parts_wherever_they_are_cut(void **state)
{
	enum { LINES = 4000, EVERY = 40 };
	(void)state;
	char *text = malloc(LINES * 48 + 128);
	static struct jit_query q[LINES];
	assert_non_null(text);
	for (size_t padding = 0; padding < 64; padding++) {
		struct region r = {0};
		size_t at = 0;
		for (unsigned i = 0; i < LINES; i++) {
			at += (size_t)sprintf(text + at, "%x 10 name number %u%.*s\n", 0x1000 + i * 16, i,
			                      (int)(i % 11), "----------");
			q[i].address = 0x1000 + i * 16 + i % 16;
		}
		memset(text + at, 'x', padding); /* parts are counted from the end */
		write_map(text, at + padding);
		assert_int_equal(jit_names(&r, q, LINES), 0);
		for (unsigned i = 0; i < LINES; i++) {
			char name[64];
			size_t len = (size_t)snprintf(name, sizeof name, "name number %u%.*s", i, (int)(i % 11),
			                              "----------");
			assert_int_equal(q[i].name.len, len);
			assert_memory_equal(q[i].name.at, name, len);
			assert_int_equal(q[i].start, 0x1000 + i * 16);
		}
		region_release(&r);
	}
	free(text);
}

/* The file is read from its last 64 MiB on; a line that begins there and ends later is none. */
static void test_of_a_large_file_the_end_is_read(void **state)
{
	static const char first[] = "1000 10 first\n", cut[] = "2000 10 cut in two\n", last[] = "3000 10 last\n";
	struct region r = {0};
	uint64_t mapped = arena_mapped_bytes();
	(void)state;
	write_text(first);
	write_at(map_path, cut, strlen(cut), 100000 - 8); /* the limit lies within it, and "cut in two" is no line */
	write_at(map_path, last, strlen(last), 100000 + strlen(cut) - 8);
	write_at(map_path, "\n", 1, 100000 + LIMIT - 1);
	struct jit_query q[] = {{.address = 0x1000}, {.address = 0x2000}, {.address = 0x3000}};
	assert_int_equal(jit_names(&r, q, COUNT(q)), 0);
	assert_int_equal(q[0].name.len, 0);
	assert_int_equal(q[1].name.len, 0);
	assert_int_equal(q[2].name.len, 4);
	assert_in_range(arena_mapped_bytes() - mapped, 0, 256 * 1024);
	assert_int_equal(truncate(map_path, 100000 + LIMIT - 100), 0); /* then all of the line is within the limit */
	write_at(map_path, "\n", 1, 100000 + LIMIT - 101);
	write_at(map_path, "\n", 1, 100000 - 9);
	assert_int_equal(jit_names(&r, q, COUNT(q)), 0);
	assert_int_equal(q[0].name.len, 0);
	assert_int_equal(q[1].name.len, 10);
	assert_int_equal(q[2].name.len, 4);
	assert_int_equal(truncate(map_path, LIMIT), 0); /* and of such a file everything is */
	write_at(map_path, "\n", 1, LIMIT - 1);
	assert_int_equal(jit_names(&r, q, COUNT(q)), 0);
	assert_int_equal(q[0].name.len, 5);
	region_release(&r);
	unlink(map_path);
}

/* --- whose file it is --------------------------------------------------------------------------------- */

static const char good[] = "1000 10 name\n";

static void test_there_may_be_no_file(void **state)
{
	(void)state;
	assert_int_equal(status_of_map(), -ENOENT);
	write_text("");
	expect_name(0x1000, NULL);
}

static void test_a_file_that_others_may_write_is_not_believed(void **state)
{
	static const struct {
		mode_t mode;
		int status;
	} rows[] = {{0600, 0},      {0644, 0},      {0755, 0},      {0400, 0},      {0660, -EPERM},
	            {0664, -EPERM}, {0646, -EPERM}, {0602, -EPERM}, {0620, -EPERM}, {0666, -EPERM}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		write_text(good);
		assert_int_equal(chmod(map_path, rows[i].mode), 0);
		assert_int_equal(status_of_map(), rows[i].status);
	}
}

static void test_what_is_no_regular_file_is_not_believed(void **state)
{
	(void)state;
	write_at(target_path, good, strlen(good), 0);
	assert_int_equal(symlink(target_path, map_path), 0);
	assert_int_equal(status_of_map(), -EPERM);
	unlink(map_path);
	assert_int_equal(link(target_path, map_path), 0); /* it is our file, but somebody else may have named it so */
	assert_int_equal(status_of_map(), -EPERM);
	unlink(target_path);
	assert_int_equal(status_of_map(), 0);
	unlink(map_path);
	assert_int_equal(symlink("/nowhere", map_path), 0);
	assert_int_equal(status_of_map(), -EPERM);
	unlink(map_path);
	assert_int_equal(mkfifo(map_path, 0600), 0); /* does not wait for a writer */
	assert_int_equal(status_of_map(), -EPERM);
	unlink(map_path);
	assert_int_equal(mkdir(map_path, 0700), 0);
	assert_int_equal(status_of_map(), -EPERM);
	rmdir(map_path);
}

static void test_the_file_is_ours_or_roots(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	write_text(good);
	assert_int_equal(chown(map_path, NOBODY, NOBODY), 0);
	assert_int_equal(status_of_map(), -EPERM);
	assert_int_equal(seteuid(NOBODY), 0);
	int own = status_of_map();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(own, 0);
	assert_int_equal(chown(map_path, 0, 0), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	int of_root = status_of_map();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(of_root, 0);
	assert_int_equal(chown(map_path, 1, 0), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	int of_other = status_of_map();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(of_other, -EPERM);
}

static void test_a_file_that_cannot_be_opened_says_why(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	write_text(good);
	assert_int_equal(chmod(map_path, 0200), 0);
	assert_int_equal(seteuid(NOBODY), 0);
	int status = status_of_map();
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(status, -EACCES);
}

static void test_no_descriptor_is_left_open(void **state)
{
	(void)state;
	int before = dup(0);
	write_text(good);
	status_of_map();
	chmod(map_path, 0666);
	status_of_map();
	unlink(map_path);
	status_of_map();
	int after = dup(0);
	assert_int_equal(after, before + 1);
	close(before);
	close(after);
}

static void test_without_memory_it_says_so(void **state)
{
	(void)state;
	struct region r = {0};
	struct jit_query q = {.address = 0x1000};
	write_text(good);
	arena_set_limit(0);
	int status = jit_names(&r, &q, 1);
	arena_set_limit(64u << 20);
	assert_int_equal(status, -ENOMEM);
	region_release(&r);
}

/* --- against a model ---------------------------------------------------------------------------------- */

enum { BLOCKS = 2048, BLOCK = 16, BASE = 0x7f0000000000 >> 20 };

/* The model: an array with the line that each block of 16 bytes belongs to. */
static struct model {
	int line_of[BLOCKS];
	char name[4000][48];
	uintptr_t start[4000];
	int lines;
} model;

static size_t add_garbage(char *text)
{
	static const char *const kinds[] = {
		"\n", "garbage\n", "%lx\n", "%lx 40\n", "%lx 40 \n", "%lx fffffffffffffff0 huge\n", "zz%lx 40 z\n"};
	return (size_t)sprintf(text, kinds[next_random() % COUNT(kinds)],
	                       (unsigned long)(BASE + next_random() % BLOCKS * BLOCK));
}

static size_t add_line(char *text)
{
	size_t block = next_random() % BLOCKS, most = BLOCKS - block, count = next_random() % 8;
	if (next_random() % 50 == 0)
		count = next_random() % BLOCKS;
	count = count < most ? count : most;
	char *name = model.name[model.lines];
	snprintf(name, sizeof *model.name, "line %d%.*s", model.lines, (int)(next_random() % 30),
	         "..............................");
	model.start[model.lines] = BASE + block * BLOCK;
	for (size_t i = 0; i < count; i++)
		model.line_of[block + i] = model.lines;
	model.lines++;
	return (size_t)sprintf(text, next_random() % 2 ? "%lx %zx %s\n" : "0x%016lx 0x%zx %s\n",
	                       (unsigned long)(BASE + block * BLOCK), count * BLOCK, name);
}

static void check_query(const struct jit_query *q)
{
	size_t block = (q->address - BASE) / BLOCK;
	int line = q->address < BASE || block >= BLOCKS ? -1 : model.line_of[block];
	const char *name = line < 0 ? "" : model.name[line];
	if (q->name.len != strlen(name) || memcmp(q->name.at ? q->name.at : "", name, q->name.len) != 0)
		fail_msg("%#lx is \"%.*s\", not \"%s\"", (unsigned long)q->address, (int)q->name.len, q->name.at, name);
	assert_int_equal(q->start, line < 0 ? 0 : model.start[line]);
}

static int by_address(const void *a, const void *b)
{
	const struct jit_query *x = a, *y = b;
	return (x->address > y->address) - (x->address < y->address);
}

static void test_random_maps_name_what_a_simple_model_does(void **state)
{
	enum { ROUNDS = 300, QUERIES = 700 };
	static struct jit_query q[QUERIES];
	(void)state;
	char *text = malloc(4000 * 256);
	assert_non_null(text);
	for (int round = 0; round < ROUNDS; round++) {
		struct region r = {0};
		size_t len = 0, lines = next_random() % 4000;
		model.lines = 0;
		memset(model.line_of, -1, sizeof model.line_of);
		for (size_t i = 0; i < lines; i++)
			len += next_random() % 16 ? add_line(text + len) : add_garbage(text + len);
		len += (size_t)sprintf(text + len, "%.*s", (int)(next_random() % 30),
		                       "7f000000 ffffff an unfinished line");
		write_map(text, len);
		size_t count = next_random() % QUERIES;
		for (size_t i = 0; i < count; i++)
			q[i].address = BASE - 64 + next_random() % (BLOCKS * BLOCK + 128);
		qsort(q, count, sizeof *q, by_address);
		assert_int_equal(jit_names(&r, q, count), 0);
		for (size_t i = 0; i < count; i++)
			check_query(&q[i]);
		region_release(&r);
	}
	free(text);
}

static void test_random_bytes_do_no_harm(void **state)
{
	static const char alphabet[] = "0123456789abcdefx   \n\n\n.";
	static char text[3 * PART];
	static struct jit_query q[256];
	(void)state;
	for (int round = 0; round < 60; round++) {
		struct region r = {0};
		size_t len = next_random() % sizeof text;
		for (size_t i = 0; i < len; i++)
			text[i] = round % 4 ? alphabet[next_random() % (sizeof alphabet - 1)] : (char)next_random();
		write_map(text, len);
		for (size_t i = 0; i < COUNT(q); i++)
			q[i].address = i * i * i;
		assert_int_equal(jit_names(&r, q, COUNT(q)), 0);
		for (size_t i = 0; i < COUNT(q); i++)
			assert_true(q[i].name.len <= NAME_MOST && q[i].start <= q[i].address &&
			            (q[i].name.len > 0 || q[i].start == 0));
		region_release(&r);
	}
}

int main(void)
{
#define CLEAN(f) cmocka_unit_test_setup_teardown(f, remove_map, remove_map)
	const struct CMUnitTest tests[] = {
		CLEAN(test_an_address_has_the_name_of_the_code_around_it),
		CLEAN(test_the_last_line_about_an_address_counts),
		CLEAN(test_what_is_a_line_and_what_is_none),
		CLEAN(test_the_last_line_is_ignored_until_it_is_complete),
		CLEAN(test_zero_bytes_are_no_line),
		CLEAN(test_without_queries_nothing_is_asked),
		CLEAN(test_long_names_are_cut),
		CLEAN(test_numbers_that_do_not_end_are_no_numbers),
		CLEAN(test_lines_lie_across_parts_wherever_they_are_cut),
		CLEAN(test_of_a_large_file_the_end_is_read),
		CLEAN(test_there_may_be_no_file),
		CLEAN(test_a_file_that_others_may_write_is_not_believed),
		CLEAN(test_what_is_no_regular_file_is_not_believed),
		CLEAN(test_the_file_is_ours_or_roots),
		CLEAN(test_a_file_that_cannot_be_opened_says_why),
		CLEAN(test_no_descriptor_is_left_open),
		CLEAN(test_without_memory_it_says_so),
		CLEAN(test_random_maps_name_what_a_simple_model_does),
		CLEAN(test_random_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
