/* test_names.c - names from the helper and from the symbol tables.
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

/* --- asking ---------------------------------------------------------------------------------------- */

static void wait_for_rest(void)
{
	uint64_t until = now_ns() + WAIT_MS * (SECOND / 1000);
	while (encoder_rest()) {
		assert_true(now_ns() < until);
		usleep(1000);
	}
}

/* --- all is well ----------------------------------------------------------------------------------- */

static void test_all_names_come_from_one_helper_and_stay_known(void **state)
{
	(void)state;
	struct request r = {0};
	use_script(ALL_ANSWERED);
	const struct site sites[] = {site_of(1, other), site_of(0, marked + 2), site_of(1, marked + 1),
	                             site_of(0, marked + 2), site_of(2, marked)};
	assert_int_equal(once(&r, sites, COUNT(sites)), -EAGAIN);
	assert_in_range(r.patience.until_ns, now_ns() + 5 * SECOND, now_ns() + 16 * SECOND);
	whole(&r, sites, COUNT(sites));
	for (size_t i = 0; i < COUNT(sites); i++)
		expect_complete(&r, sites[i]);
	expect_note(&r, NULL);
	finish(&r);
	assert_int_equal(count_helpers(), 1);
	char expected[4 * 4200];
	uint64_t low = marked + 1 < other ? marked + 1 : other, high = marked + 1 < other ? other : marked + 1;
	snprintf(expected, sizeof expected, "o -\np %s\na %llx\no -\np %s\na %llx\na %llx\no -\np %s\na %llx\n",
	         own_path, (unsigned long long)marked + 2, own_path, (unsigned long long)low, (unsigned long long)high,
	         own_path, (unsigned long long)marked);
	assert_string_equal(read_file("request"), expected);
	/* the next request finds them, whoever asks */
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_complete(&r, sites[0]);
	finish(&r);
	struct region region = {0};
	struct names n;
	assert_int_equal(names_begin(&n, &region), 0);
	assert_int_equal(names_prepare(&n, sites, COUNT(sites), NULL), 0);
	assert_int_equal(names_of(&n, site_of(0, marked + 2)).count, 2);
	region_release(&region);
	/* but what is new is asked for */
	const struct site more[] = {site_of(0, marked + 2), site_of(3, marked + 3)};
	whole(&r, more, COUNT(more));
	expect_complete(&r, more[1]);
	assert_null(strstr(read_file("request") + 1, "o -\n")); /* about that object alone */
	finish(&r);
	assert_int_equal(count_helpers(), 2);
	assert_int_equal(encoder_rest(), 0);
	assert_null(encoder_trouble());
}

static void test_without_patience_tables_are_read_and_nothing_is_started(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct region region = {0};
	struct names n;
	const struct site sites[] = {site_of(0, marked + 2), site_of(1, other)};
	assert_int_equal(names_begin(&n, &region), 0);
	assert_int_equal(names_prepare(&n, sites, COUNT(sites), NULL), 0);
	struct name name = names_of(&n, sites[0]);
	assert_true(name.count == 1 && span_is(name.frame->function, "marked_function") && name.offset == 2);
	assert_true(span_is(names_of(&n, sites[1]).frame->function, "other_function"));
	assert_null(n.note);
	region_release(&region);
	assert_int_equal(count_helpers(), 0);
	/* what was read there is asked for when there is time */
	struct request r = {0};
	whole(&r, sites, COUNT(sites));
	expect_complete(&r, sites[0]);
	expect_complete(&r, sites[1]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_a_site_without_an_object_is_not_asked_for(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site nowhere = {.address = 0x1000};
	assert_int_equal(once(&r, &nowhere, 1), 0);
	assert_int_equal(names_of(&r.names, nowhere).count, 1);
	assert_int_equal(once(&r, NULL, 0), 0);
	assert_int_equal(count_helpers(), 0);
	finish(&r);
}

static void test_an_object_whose_file_is_gone_is_not_asked_for(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site gone[] = {site_of(GONE, 0x1234)}, both[] = {site_of(GONE, 0x1234), site_of(2, marked + 1)};
	assert_int_equal(once(&r, gone, 1), 0);
	assert_int_equal(count_helpers(), 0);
	expect_table(&r, gone[0], "libgone.so+0x1234", 0);
	expect_note(&r, NULL);
	finish(&r);
	whole(&r, both, 2);
	expect_table(&r, both[0], "libgone.so+0x1234", 0);
	expect_complete(&r, both[1]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_it_is_asked_only_about_the_file_that_was_loaded(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	module[1].build_id_len = 3; /* not that of our file */
	memcpy(module[1].build_id, "odd", 3);
	const struct site sites[] = {site_of(1, marked)};
	assert_int_equal(once(&r, sites, 1), 0);
	assert_int_equal(count_helpers(), 0);
	finish(&r);
	make_modules();
}

/* --- one that takes its time ----------------------------------------------------------------------- */

static void test_it_is_asked_again_until_it_is_done(void **state)
{
	(void)state;
	use_script(WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0}, second = {0}, known = {0};
	const struct site sites[] = {site_of(0, marked)}, others[] = {site_of(1, marked)}, gone[] = {site_of(GONE, 0)};
	for (int i = 0; i < 20; i++) {
		assert_int_equal(once(&r, sites, 1), -EAGAIN);
		assert_in_range(encoder_wait_ms(&r.patience), 1, 100);
		assert_int_equal(encoder_rest(), 1000);
		usleep(5000);
	}
	/* one who comes meanwhile waits for its turn */
	assert_int_equal(once(&second, others, 1), -EAGAIN);
	assert_in_range(encoder_wait_ms(&second.patience), 1, 100);
	/* who lacks nothing that it could say does not wait */
	assert_int_equal(names_begin(&known.names, &known.region), 0);
	assert_int_equal(names_prepare(&known.names, gone, 1, NULL), 0);
	write_file("go", "");
	whole(&r, sites, 1);
	expect_complete(&r, sites[0]);
	assert_int_equal(count_helpers(), 1);
	whole(&second, others, 1);
	expect_complete(&second, others[0]);
	assert_int_equal(count_helpers(), 2);
	finish(&r);
	finish(&second);
	finish(&known);
}

static void test_who_lacks_nothing_does_not_wait_for_others(void **state)
{
	(void)state;
	use_script("[ $(grep -c = requests) = 1 ] || " WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0}, second = {0};
	const struct site sites[] = {site_of(0, marked)}, others[] = {site_of(1, marked)};
	whole(&r, sites, 1);
	assert_int_equal(once(&second, others, 1), -EAGAIN);
	finish(&r);
	assert_int_equal(once(&r, sites, 1), 0);
	expect_complete(&r, sites[0]);
	expect_note(&r, NULL);
	write_file("go", "");
	whole(&second, others, 1);
	finish(&r);
	finish(&second);
}

static void test_after_the_deadline_tables_are_read_and_the_answers_come_next_time(void **state)
{
	(void)state;
	use_script(WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 3), site_of(1, other + 1)};
	assert_int_equal(once(&r, sites, COUNT(sites)), -EAGAIN);
	r.patience.until_ns = now_ns() + 200 * (SECOND / 1000);
	uint64_t before = now_ns();
	whole(&r, sites, COUNT(sites));
	assert_true(now_ns() >= before + 150 * (SECOND / 1000));
	expect_table(&r, sites[0], "marked_function", 3);
	expect_table(&r, sites[1], "other_function", 1);
	expect_note(&r, LATE);
	finish(&r);
	assert_int_equal(encoder_rest(), 1000); /* it goes on */
	write_file("go", "");
	wait_for_rest();
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_complete(&r, sites[0]);
	expect_complete(&r, sites[1]);
	expect_note(&r, NULL);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_a_request_that_went_away_leaves_its_answers(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 3)};
	assert_int_equal(once(&r, sites, 1), -EAGAIN);
	finish(&r);
	wait_for_rest();
	assert_int_equal(once(&r, sites, 1), 0);
	expect_complete(&r, sites[0]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "die") == 0)
		die();
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_names_come_from_one_helper_and_stay_known),
		cmocka_unit_test(test_without_patience_tables_are_read_and_nothing_is_started),
		cmocka_unit_test(test_a_site_without_an_object_is_not_asked_for),
		cmocka_unit_test(test_an_object_whose_file_is_gone_is_not_asked_for),
		cmocka_unit_test(test_it_is_asked_only_about_the_file_that_was_loaded),
		cmocka_unit_test(test_it_is_asked_again_until_it_is_done),
		cmocka_unit_test(test_who_lacks_nothing_does_not_wait_for_others),
		cmocka_unit_test(test_after_the_deadline_tables_are_read_and_the_answers_come_next_time),
		cmocka_unit_test(test_a_request_that_went_away_leaves_its_answers),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
