/* test_symbolizer_start.c - a helper that cannot be had, or that takes its time.
 *
 * Runs in: its own process, with shell scripts as helper programs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/trouble.c
 * links: encoder/names/symbolizer.c encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: encoder/bytes/out.c encoder/names/maps.c shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c
 * links: shim/listener/filters.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/names/symbolizer_made.h"

/* --- one that cannot be had ------------------------------------------------------------------------ */

/* The program is in the same container: of what is left, half may be taken. */
static void test_a_helper_has_half_of_what_the_container_leaves_or_is_not_started(void **state)
{
	(void)state;
	use_script("ulimit -d >limit; cat >/dev/null; echo e");
	room = 40 << 20;
	ask_all();
	wait_for_end();
	assert_string_equal(read_file("limit"), "20480\n");
	unlink(in_dir("limit"));
	room = 15 << 20;
	use_script("touch started; cat >/dev/null; echo e");
	assert_int_equal(symbolizer_ask(questions, MODULES), -ENOSPC);
	assert_non_null(strstr(symbolizer_trouble(), "too little memory"));
	assert_false(would_answer(0)); /* for a while */
	room = UINT64_MAX;
	assert_int_equal(access(in_dir("started"), F_OK), -1);
}

/* That was want of memory, most likely: whoever is asked about, it would be the same. */
static void test_after_a_helper_that_the_kernel_killed_none_is_tried_for_a_while(void **state)
{
	(void)state;
	use_script("read line; echo o 0; kill -9 $$");
	ask_all();
	wait_for_end();
	assert_string_equal(symbolizer_trouble(), KILLED("9"));
	for (int i = 0; i < MODULES; i++)
		assert_false(would_answer(i));
}

static void test_what_cannot_be_started_is_told_and_not_tried_again_at_once(void **state)
{
	static const struct {
		const char *content;
		mode_t mode;
		int error;
		const char *trouble;
	} rows[] = {
		{NULL, 0, -ENOENT, ABSENT},
		{"#!/bin/sh\n", 0644, -EACCES, FORBIDDEN},
		{"#!/bin/sh\n", 0757, -EPERM, REFUSED},
		{"#!/nowhere\n", 0755, -ENOENT, ABSENT},
		{"no program", 0755, -ENOEXEC,
	         "no lines and inlined calls: pprofshim-symbolize could not be started, error 8; names are those of "
	         "symbol tables"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		use_script("exit 0");
		unlink(program);
		if (rows[i].content) {
			write_file("helper", rows[i].content, strlen(rows[i].content));
			chmod(program, rows[i].mode);
		}
		assert_true(would_answer(0));
		int r = symbolizer_ask(questions, MODULES); /* 0: it is found later */
		assert_true(r == 0 || r == rows[i].error);
		wait_for_end();
		assert_string_equal(symbolizer_trouble(), rows[i].trouble);
		for (int m = 0; m < MODULES; m++)
			assert_false(would_answer(m));
		expect_nothing_left();
	}
}

static void test_a_relative_path_is_not_run(void **state)
{
	(void)state;
	use_script("touch was_run");
	char before[4096];
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(dir), 0);
	symbolizer_start(&(struct encoder_options){
		.symbolizer = "./helper", .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	symbolizer_locate(&(struct maps){0});
	int r = symbolizer_ask(questions, MODULES);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(r, -EPERM);
	assert_string_equal(symbolizer_trouble(), REFUSED);
}

static void test_it_is_where_the_options_say_else_beside_the_library(void **state)
{
	(void)state;
	struct region r = {0};
	struct maps maps;
	assert_int_equal(maps_read(&r, &maps), 0);
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){.symbolizer_off = true, .symbolizer = program});
	symbolizer_locate(&maps);
	assert_false(would_answer(0));
	assert_null(symbolizer_trouble());
	symbolizer_start(
		&(struct encoder_options){.symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	assert_false(would_answer(0)); /* not looked for yet */
	symbolizer_locate(&(struct maps){0});
	assert_false(would_answer(0));
	symbolizer_locate(&maps);
	assert_true(would_answer(0));
	/* here, that is the test program's folder */
	char beside[4200] = "";
	ssize_t n = readlink("/proc/self/exe", beside, 4000);
	assert_in_range(n, 1, 4000);
	strcpy(strrchr(beside, '/'), "/" SYMBOLIZE_PROGRAM);
	if (access(beside, F_OK) != 0) {
		assert_int_equal(symbolizer_ask(questions, 1), 0);
		wait_for_end();
		assert_string_equal(symbolizer_trouble(), ABSENT);
	}
	static char longest[5000];
	memset(longest, 'x', sizeof longest - 1);
	symbolizer_start(&(struct encoder_options){.symbolizer = longest});
	symbolizer_locate(&maps);
	assert_false(would_answer(0));
	region_release(&r);
}

static void lack_memory(void)
{
	use_answer("o 0\na 10 0\ne\n");
	arena_set_limit(arena_mapped_bytes() + 128 * 1024);
	int before = count_descriptors();
	uint64_t mapped = arena_mapped_bytes();
	CHECK(symbolizer_ask(questions, MODULES) == -ENOMEM);
	CHECK(!symbolizer_poll());
	CHECK(strcmp(symbolizer_trouble(),
	             "no lines and inlined calls: pprofshim-symbolize could not be started, error 12; names are "
	             "those of symbol tables") == 0);
	CHECK(arena_mapped_bytes() <= mapped + 64 * 1024); /* of the cache's */
	CHECK(count_descriptors() == before);
}

static void test_without_memory_it_is_not_started(void **state)
{
	(void)state;
	in_child_within(60, lack_memory);
}

/* --- one that takes its time ----------------------------------------------------------------------- */

static void test_nobody_waits_for_one_that_is_silent(void **state)
{
	(void)state;
	use_script("cat >/dev/null; printf 'o 0\\na 10 0\\nf 1 1\\t\\t\\tf\\na 2'; touch here; while [ ! -e go ]; do "
	           "sleep 0.02; done; "
	           "rm go; printf '0 0\\ne\\n'");
	ask_all();
	uint64_t until = now_ms() + WAIT_MS;
	while (access(in_dir("here"), F_OK) != 0 || !find(0, 0x10) || now_ms() < until - WAIT_MS + 300) {
		assert_true(symbolizer_poll());
		assert_true(now_ms() < until);
		usleep(500);
		if (access(in_dir("here"), F_OK) == 0 && now_ms() > until - WAIT_MS + 300)
			break; /* the address may wait for its frames' end */
	}
	assert_null(symbolizer_trouble());
	assert_null(find(0, 0x20));
	write_file("go", "", 0);
	wait_for_end();
	assert_string_equal(known(), "0:10 from 0 [f|||1|1]\n0:20 from 0\n");
	unlink(in_dir("here"));
	expect_nothing_left();
}

static void test_one_that_does_not_read_is_given_up(void **state)
{
	enum { N = 300 * 1000 }; /* more than a pipe holds */
	(void)state;
	uint64_t *many = malloc(N * sizeof *many);
	for (int i = 0; i < N; i++)
		many[i] = 0x7f0000000000 + (uint64_t)i;
	use_script("exec sleep 1000");
	uint64_t before = now_ms();
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
	wait_for_end();
	assert_in_range(now_ms() - before, 400, WAIT_MS);
	assert_string_equal(symbolizer_trouble(),
	                    "no lines and inlined calls: pprofshim-symbolize did not read its questions and was ended; "
	                    "names are those of symbol tables");
	assert_false(would_answer(0));
	assert_false(would_answer(1));
	expect_nothing_left();
	/* one that does gets it all */
	use_script("wc -lc >request; echo e");
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
	wait_for_end();
	long lines, bytes;
	assert_int_equal(sscanf(read_file("request"), "%ld %ld", &lines, &bytes), 2);
	assert_int_equal(lines, N + 2);
	assert_int_equal(bytes, strlen("o abcd01\np /a\n") + N * 15);
	free(many);
}

/* Its file may come from a server that does not answer: the listener serves others until it reads. */
static void test_nobody_waits_until_it_reads(void **state)
{
	enum { N = 300 * 1000 }; /* more than a pipe holds */
	(void)state;
	uint64_t *many = malloc(N * sizeof *many);
	for (int i = 0; i < N; i++)
		many[i] = 0x7f0000000000 + (uint64_t)i;
	use_script("while [ ! -e go ]; do sleep 0.02; done; rm go; wc -l >request; echo e");
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
	assert_true(symbolizer_poll());
	assert_in_range(symbolizer_rest_ms(), 1, 50);
	write_file("go", "", 0); /* nobody did this while the questions were asked */
	wait_for_end();
	assert_null(symbolizer_trouble());
	assert_int_equal(atoi(read_file("request")), N + 2);
	free(many);
}

/* It has said all, and takes its time to end. */
static void test_nobody_waits_until_it_has_ended(void **state)
{
	(void)state;
	use_script("cat >/dev/null; echo o 0; echo a 10 0; echo f 1 1; echo e; exec sleep 1000");
	ask_all();
	int looks = 0;
	for (uint64_t until = now_ms() + WAIT_MS; symbolizer_poll(); usleep(500)) {
		assert_true(now_ms() < until);
		looks += symbolizer_rest_ms() < 1000;
	}
	assert_in_range(looks, 2, WAIT_MS); /* while it was ending */
	expect_nothing_left();
}

/* The parent's helper is none of the child's: it neither reads nor ends it. */
static void forget_parents(void)
{
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){
		.symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20, .symbolizer = program});
	CHECK(!symbolizer_poll());
	CHECK(!symbolizer_trouble());
}

static void test_a_fork_child_forgets_the_parents_helper(void **state)
{
	(void)state;
	use_script("cat >/dev/null; while [ ! -e go ]; do sleep 0.02; done; rm go; cat answer");
	write_file("answer", whole, strlen(whole));
	ask_all();
	in_child_within(60, forget_parents);
	assert_true(symbolizer_poll());
	write_file("go", "", 0);
	wait_for_end();
	assert_string_equal(known(), whole_known);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "die") == 0)
		die(atoi(argv[2]));
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_helper_has_half_of_what_the_container_leaves_or_is_not_started),
		cmocka_unit_test(test_after_a_helper_that_the_kernel_killed_none_is_tried_for_a_while),
		cmocka_unit_test(test_what_cannot_be_started_is_told_and_not_tried_again_at_once),
		cmocka_unit_test(test_a_relative_path_is_not_run),
		cmocka_unit_test(test_it_is_where_the_options_say_else_beside_the_library),
		cmocka_unit_test(test_without_memory_it_is_not_started),
		cmocka_unit_test(test_nobody_waits_for_one_that_is_silent),
		cmocka_unit_test(test_one_that_does_not_read_is_given_up),
		cmocka_unit_test(test_nobody_waits_until_it_reads),
		cmocka_unit_test(test_nobody_waits_until_it_has_ended),
		cmocka_unit_test(test_a_fork_child_forgets_the_parents_helper),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
