/* test_names_failing.c - names while the helper takes its time or fails, and with little memory.
 *
 * Runs in: its own process, with shell scripts as helper programs. The modules are made up: this program's file, many
 * times.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/names/names.c encoder/names/container.c encoder/names/cache.c encoder/names/symbolizer.c
 * links: encoder/names/site.c
 * links: encoder/bytes/intern.c encoder/names/jit.c encoder/names/elf_symbols.c encoder/names/maps.c
 * links: encoder/bytes/sort.c encoder/bytes/out.c encoder/bytes/utf8.c shim/base/own_file.c shim/listener/spawn.c
 * links: shim/listener/keeper.c shim/listener/filters.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/names/names_made.h"

/* --- one that fails -------------------------------------------------------------------------------- */

static void test_one_that_is_not_there_is_told(void **state)
{
	(void)state;
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1)};
	use_script("");
	unlink(program);
	for (int i = 0; i < 3; i++) {
		whole(&r, sites, 1);
		expect_table(&r, sites[0], "marked_function", 1);
		expect_note(&r, ABSENT);
		assert_string_equal(encoder_trouble(), ABSENT);
		assert_int_equal(encoder_wait_ms(&r.patience), 0);
		finish(&r);
	}
}

static void test_one_that_is_switched_off_is_no_trouble(void **state)
{
	(void)state;
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1)};
	use_script(ALL_ANSWERED);
	names_start(&(struct encoder_options){.symbolizer = program,
	                                      .symbolizer_off = true,
	                                      .symbolizer_memory_bytes = UINT64_MAX,
	                                      .memory_limit_bytes = 64 << 20});
	assert_int_equal(once(&r, sites, 1), 0);
	expect_table(&r, sites[0], "marked_function", 1);
	expect_note(&r, NULL);
	assert_null(encoder_trouble());
	assert_int_equal(count_helpers(), 0);
	finish(&r);
}

static void test_when_it_dies_another_is_asked_about_the_rest(void **state)
{
	(void)state;
	use_script("if [ $(grep -c = requests) = 1 ]; then printf 'o 0\\na %s 0\\nf 1 1\\t\\t\\tfirst\\no 1\\n' $(sed "
	           "-n 's/^a //p;T;q' request); exec \"$self\" die; fi; " ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked), site_of(1, marked + 1), site_of(2, marked + 2)};
	whole(&r, sites, COUNT(sites));
	if (count_helpers() != 2)
		fail_msg("%s", read_file("requests"));
	assert_in_range(r.patience.rounds, 2, 3);
	struct name n = names_of(&r.names, sites[0]);
	assert_true(n.count == 1 && span_is(n.frame->function, "first") && n.frame->line == 1);
	expect_table(&r, sites[1], "marked_function", 1);
	expect_complete(&r, sites[2]);
	expect_note(&r, KILLED);
	char expected[5000];
	snprintf(expected, sizeof expected, "o -\np %s\na %llx\n", own_path, (unsigned long long)marked + 2);
	assert_string_equal(read_file("request"), expected);
	finish(&r);
	/* not at once again */
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_note(&r, KILLED);
	assert_int_equal(count_helpers(), 2);
	finish(&r);
	/* what is complete has no note */
	assert_int_equal(once(&r, &sites[2], 1), 0);
	expect_note(&r, NULL);
	finish(&r);
}

static void test_one_request_starts_only_a_few(void **state)
{
	(void)state;
	use_script("echo 'o 0'; exec \"$self\" die");
	struct request r = {0};
	struct site sites[GONE];
	for (int m = 0; m < GONE; m++)
		sites[m] = site_of(m, marked + 4);
	whole(&r, sites, COUNT(sites));
	assert_in_range(count_helpers(), 2, 4);
	assert_in_range(r.patience.rounds, count_helpers(), 4);
	for (size_t i = 0; i < COUNT(sites); i++)
		expect_table(&r, sites[i], "marked_function", 4);
	expect_note(&r, KILLED);
	finish(&r);
	int before = count_helpers(); /* the next one asks about the others, and then there are none left */
	whole(&r, sites, COUNT(sites));
	assert_in_range(count_helpers(), before + 1, GONE);
	finish(&r);
	before = count_helpers();
	whole(&r, sites, COUNT(sites));
	assert_int_equal(count_helpers(), before);
	finish(&r);
}

static void test_what_it_does_not_answer_is_read_from_tables(void **state)
{
	(void)state;
	use_script("printf 'o 0\\nn its file cannot be read\\no 1\\na %s 0\\ne\\n' $(sed -n 's/^a //p' request | tail "
	           "-n 1)");
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1), site_of(1, marked + 2)};
	whole(&r, sites, COUNT(sites));
	expect_table(&r, sites[0], "marked_function", 1);
	struct name n = names_of(&r.names, sites[1]); /* it knows that there is nothing */
	assert_int_equal(n.count, 1);
	assert_true(memmem(n.frame->function.at, n.frame->function.len, "+0x", 3) != NULL);
	assert_null(encoder_trouble());
	finish(&r);
	whole(&r, sites, COUNT(sites));
	assert_int_equal(count_helpers(), 1); /* and is not asked again at once */
	finish(&r);
}

/* --- much of it, and little memory ----------------------------------------------------------------- */

static void test_many_sites_are_asked_for_at_once(void **state)
{
	enum { N = 20000 };
	(void)state;
	use_script("exec awk '/^o/ { print \"o \" n++ } /^a/ { print \"a \" $2 \" 0\\nf 1 1\\t\\t\\tn\" $2 } END { "
	           "print \"e\" }' request");
	struct site *sites = calloc(N, sizeof *sites);
	for (int i = 0; i < N; i++)
		sites[i] = site_of(i % GONE, 0x1000 + (uint64_t)(N - i) * 8);
	struct request r = {0};
	whole(&r, sites, N);
	for (int i = 0; i < N; i++) {
		char expected[32];
		snprintf(expected, sizeof expected, "n%llx",
		         (unsigned long long)(sites[i].address - sites[i].module->bias));
		struct name n = names_of(&r.names, sites[i]);
		assert_true(n.count == 1 && span_is(n.frame->function, expected));
	}
	assert_int_equal(count_helpers(), 1);
	free(sites);
	finish(&r);
}

static void lack_memory(void)
{
	const struct site sites[] = {site_of(0, marked), site_of(1, marked)};
	uint64_t mapped = arena_mapped_bytes();
	int enough = 0;
	alarm(60);
	for (uint64_t spare = 0; spare < 4 << 20; spare += 32 * 1024) {
		struct request r = {0};
		names_start(&(struct encoder_options){
			.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
		arena_set_limit(mapped + spare);
		int result;
		while ((result = once(&r, sites, COUNT(sites))) == -EAGAIN)
			usleep(1000);
		if (result != 0 && result != -ENOMEM)
			_exit(1);
		if (result == 0 && !names_of(&r.names, sites[0]).count)
			_exit(2);
		enough += result == 0;
		finish(&r);
	}
	names_start(&(struct encoder_options){0});
	_exit(arena_mapped_bytes() != mapped ? 3 : enough ? 0 : 4);
}

static void test_without_memory_it_is_an_error_and_no_harm(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	fflush(stdout);
	int status;
	pid_t child = fork();
	if (child == 0)
		lack_memory();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "die") == 0)
		die();
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_that_is_not_there_is_told),
		cmocka_unit_test(test_one_that_is_switched_off_is_no_trouble),
		cmocka_unit_test(test_when_it_dies_another_is_asked_about_the_rest),
		cmocka_unit_test(test_one_request_starts_only_a_few),
		cmocka_unit_test(test_what_it_does_not_answer_is_read_from_tables),
		cmocka_unit_test(test_many_sites_are_asked_for_at_once),
		cmocka_unit_test(test_without_memory_it_is_an_error_and_no_harm),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
