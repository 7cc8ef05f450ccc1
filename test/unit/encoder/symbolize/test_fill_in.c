/* test_fill_in.c - what a profile gets that lacks names and lines, and what stays as it is.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/fill_in.c encoder/symbolize/completion.c encoder/symbolize/fill_lines.c
 * links: encoder/saved/profile_file.c encoder/saved/places.c encoder/profile/profile.pb-c.c
 * links: encoder/bytes/utf8.c */
#include "test/unit/encoder/symbolize/fill_in_made.h"

static void test_locations_get_what_they_lack(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	assert_string_equal(lines_of(p, 1), "ns::twice,_ZN2ns5twiceEi,/src/a.h:12 from 10; "
	                                    "ns::four,_ZN2ns4fourEi,/src/a.h:20 from 19; main,main,/src/b.c:7 from 5");
	assert_string_equal(lines_of(p, 2), "main,main,/src/b.c:8 from 5");
	assert_string_equal(lines_of(p, 3), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 4), "qsort,qsort,:0 from 0");
	assert_string_equal(lines_of(p, 5), "complete,complete,known.c:9 from 0");
	assert_string_equal(lines_of(p, 6), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 7), "qsort,qsort,:0 from 0");
	assert_string_equal(lines_of(p, 8), "caf?,caf?,/src/?\xc3\xa9.c:1 from 1");
	assert_string_equal(lines_of(p, 9), "app+0x20,app+0x20,:0 from 0");
	assert_string_equal(lines_of(p, 10), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 11), "");
	assert_string_equal(lines_of(p, 12), "");
	assert_int_equal(p->location[0]->line[2]->function_id, p->location[1]->line[0]->function_id);
	assert_int_equal(p->location[3]->line[0]->function_id, p->location[6]->line[0]->function_id);
	assert_int_equal(opened[0], 1); /* for all of its locations */
	pprof__profile__free_unpacked(p, NULL);
}

static void test_all_else_stays_as_it_is(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	assert_int_equal(p->base.n_unknown_fields, 1);
	assert_int_equal(p->time_nanos, -5);
	assert_int_equal(p->period, 7);
	assert_int_equal(p->comment[0], 9);
	assert_null(p->period_type);
	for (size_t i = 0; i < COUNT(strings); i++)
		assert_string_equal(p->string_table[i], strings[i]);
	assert_int_equal(p->n_sample, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(p->sample[i]->location_id[0], 9 - i);
		assert_int_equal(p->sample[i]->value[0], 100 - i);
		assert_int_equal(p->sample[i]->base.n_unknown_fields, 1);
	}
	for (size_t i = 0; i < LOCATIONS; i++) {
		assert_int_equal(p->location[i]->id, i + 1);
		assert_int_equal(p->location[i]->address, rows[i].address);
	}
	assert_int_equal(p->location[0]->base.n_unknown_fields, 1);
	assert_int_equal(p->location[4]->line[0]->base.n_unknown_fields, 1);
	assert_int_equal(p->mapping[1]->base.n_unknown_fields, 1);
	assert_int_equal(p->function[5]->base.n_unknown_fields, 1);
	assert_int_equal(p->function[5]->base.unknown_fields[0].tag, 99);
	assert_int_equal(p->function[5]->base.unknown_fields[0].data[0], 0x2a);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_functions_are_numbered_without_gaps_and_none_is_left_over(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	size_t stopgaps = 0;
	for (size_t i = 0; i < p->n_function; i++) {
		assert_int_equal(p->function[i]->id, i + 1);
		stopgaps += strcmp(p->string_table[p->function[i]->name], "app+0x1234") == 0;
	}
	assert_int_equal(stopgaps, 0); /* its place was taken */
	assert_int_equal(p->n_function, FUNCTIONS - 1 + 5);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_mappings_say_only_what_is_true(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	const Pprof__Mapping *m = p->mapping[0];
	assert_true(!m->has_functions && m->has_filenames && m->has_line_numbers &&
	            m->has_inline_frames); /* location 12 */
	m = p->mapping[1];
	assert_true(m->has_functions && m->has_filenames && m->has_line_numbers && !m->has_inline_frames);
	m = p->mapping[2];
	assert_true(m->has_functions && !m->has_filenames && !m->has_line_numbers && !m->has_inline_frames);
	pprof__profile__free_unpacked(p, NULL);
	p = make();
	p->location[11]->address = 0x401020;
	p = complete_with(p, NULL, 0, NULL);
	assert_true(p->mapping[0]->has_functions);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_a_completed_profile_is_not_changed_again(void **state)
{
	(void)state;
	Pprof__Profile *once = complete_with(make(), NULL, 0, NULL), *twice = complete_with(once, NULL, 0, NULL);
	size_t len = pprof__profile__get_packed_size(once);
	assert_int_equal(pprof__profile__get_packed_size(twice), len);
	uint8_t *a = malloc(len), *b = malloc(len);
	pprof__profile__pack(once, a);
	pprof__profile__pack(twice, b);
	assert_memory_equal(a, b, len);
	free(a), free(b);
	pprof__profile__free_unpacked(once, NULL);
	pprof__profile__free_unpacked(twice, NULL);
}

/* --- files elsewhere ------------------------------------------------------------------------------- */

static bool found_app(const char *path_in_profile, const char *build_id, const char *binary)
{
	Pprof__Profile *p = make();
	p->string_table[3] = (char *)(uintptr_t)path_in_profile;
	p->string_table[4] = (char *)(uintptr_t)build_id;
	p = complete_with(p, &binary, binary != NULL, NULL);
	bool found = p->location[0]->n_line == 3;
	pprof__profile__free_unpacked(p, NULL);
	return found;
}

static void test_a_moved_file_is_found_by_build_id_or_name(void **state)
{
	(void)state;
	assert_true(found_app("/app", "aa11", NULL));
	assert_true(found_app("/app", "", NULL));
	assert_false(found_app("/app", "bb22", NULL));
	assert_false(found_app("/gone/app", "aa11", NULL));
	assert_true(found_app("/gone/app", "aa11", "/moved/app"));
	assert_true(found_app("/gone/app", "aa11", "/moved/other")); /* by build id */
	assert_false(found_app("/gone/app", "bb22", "/moved/app"));  /* another version */
	assert_true(found_app("/gone/app", "", "/moved/app"));       /* by name, where it has no id */
	assert_true(found_app("/gone/app", "aa11", "/new/app"));     /* by name, where the file has none */
	assert_false(found_app("/gone/app", "aa11", "/moved/bare")); /* neither name nor id */
	assert_false(found_app("/gone/app", "", "/moved/other"));
}

static void test_what_the_user_names_goes_before_the_path_of_the_profile(void **state)
{
	const char *paths[] = {"/moved/app"};
	(void)state;
	pprof__profile__free_unpacked(complete_with(make(), paths, 1, NULL), NULL);
	assert_int_equal(opened[0], 0);
	assert_int_equal(opened[2], 1);
}

static void test_files_that_cannot_be_read_are_named(void **state)
{
	char *notes;
	Pprof__Profile *p = make();
	(void)state;
	p->string_table[3] = (char[]){"/gone/app"};
	p = complete_with(p, NULL, 0, &notes);
	assert_string_equal(notes, "pprofshim-symbolize: /gone/app: no such file; --binary names a file elsewhere\n"
	                           "pprofshim-symbolize: /lib/libc.so: a part of it is damaged\n");
	free(notes);
	pprof__profile__free_unpacked(p, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locations_get_what_they_lack),
		cmocka_unit_test(test_all_else_stays_as_it_is),
		cmocka_unit_test(test_functions_are_numbered_without_gaps_and_none_is_left_over),
		cmocka_unit_test(test_mappings_say_only_what_is_true),
		cmocka_unit_test(test_a_completed_profile_is_not_changed_again),
		cmocka_unit_test(test_a_moved_file_is_found_by_build_id_or_name),
		cmocka_unit_test(test_what_the_user_names_goes_before_the_path_of_the_profile),
		cmocka_unit_test(test_files_that_cannot_be_read_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
