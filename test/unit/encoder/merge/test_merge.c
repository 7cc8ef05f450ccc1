/* test_merge.c - what counts as equal in a merge, and what a result holds.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/merge/tables.c encoder/merge/source.c encoder/merge/headers.c encoder/merge/samples.c
 * links: encoder/merge/write.c encoder/merge/inputs.c encoder/saved/profile_file.c encoder/saved/places.c
 * links: encoder/profile/profile.pb-c.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: shim/base/text.c shim/base/sync.c */
#include "test/unit/encoder/merge/merge_made.h"

static struct made one, two;

static void add(struct merge *m, const struct made *d)
{
	size_t lost;
	assert_null(merge_add(m, &d->p, NULL, 0, &lost));
	assert_int_equal(lost, 0);
}

static Pprof__Profile *merged(void)
{
	struct merge *m = merge_new();
	add(m, &one);
	add(m, &two);
	return result(m);
}

static int set_up(void **state)
{
	(void)state;
	arena_set_limit(64 << 20);
	made_at(&one, 0x400000);
	made_at(&two, 0x7f0000000000);
	return 0;
}

static void done(Pprof__Profile *p)
{
	pprof__profile__free_unpacked(p, NULL);
}

static void test_samples_of_one_program_at_two_places_are_added(void **state)
{
	(void)state;
	Pprof__Profile *p = merged();
	assert_int_equal(p->n_mapping, 1);
	assert_int_equal(p->n_function, 3);
	assert_int_equal(p->n_location, LOCATIONS);
	assert_int_equal(p->n_sample, SAMPLES);
	for (size_t i = 0; i < SAMPLES; i++)
		assert_int_equal(p->sample[i]->value[0], 20 * (i + 1));
	assert_int_equal(p->mapping[0]->memory_start, 0x400000);
	assert_int_equal(p->location[0]->address, 0x400000);
	assert_int_equal(p->location[1]->address, 0x400200); /* the second of the first sample's stack */
	done(p);
}

static void test_ids_are_numbered_in_the_order_of_the_file(void **state)
{
	(void)state;
	Pprof__Profile *p = merged();
	for (size_t i = 0; i < p->n_mapping; i++)
		assert_int_equal(p->mapping[i]->id, i + 1);
	for (size_t i = 0; i < p->n_location; i++)
		assert_int_equal(p->location[i]->id, i + 1);
	for (size_t i = 0; i < p->n_function; i++)
		assert_int_equal(p->function[i]->id, i + 1);
	assert_string_equal(p->string_table[0], "");
	done(p);
}

/* Each of these makes the second profile's first location, or sample, another one. */
static void other_build_id(void)
{
	two.mapping.build_id = S_TEXT;
}

static void other_size(void)
{
	two.mapping.memory_limit += 4096;
}

static void other_offset(void)
{
	two.mapping.file_offset = 4096;
}

static void other_line(void)
{
	two.line[0].line++;
}

static void other_column(void)
{
	two.line[0].column++;
}

static void other_address(void)
{
	two.location[0].address++;
}

static void other_start_line(void)
{
	two.function[0].start_line++;
}

static void folded(void)
{
	two.location[0].is_folded = 1;
}

static void other_label(void)
{
	two.label[0].str = S_NOTE;
}

static void number_for_text(void)
{
	two.label[0].str = 0, two.label[0].num = S_TEXT;
}

static void no_label(void)
{
	two.sample[0].n_label = 0;
}

static void other_stack(void)
{
	two.sample[0].n_location_id = 1;
}

static void test_what_differs_stays_apart(void **state)
{
	static void (*const change[])(void) = {other_build_id, other_size,      other_offset,     other_line,
	                                       other_column,   other_address,   other_start_line, folded,
	                                       other_label,    number_for_text, no_label,         other_stack};
	(void)state;
	for (size_t i = 0; i < COUNT(change); i++) {
		set_up(NULL);
		one.p.n_sample = two.p.n_sample = 1;
		change[i]();
		Pprof__Profile *p = merged();
		assert_int_equal(p->n_sample, 2);
		done(p);
	}
}

/* --- labels ---------------------------------------------------------------------------------------- */

static void test_units_and_values_of_labels_tell_samples_apart(void **state)
{
	(void)state;
	static const int64_t labels[][2] = {{7, S_BYTES},  {7, 0},       {8, S_BYTES},
	                                    {-7, S_BYTES}, {0, S_BYTES}, {7 + (INT64_C(1) << 32), S_BYTES}};
	struct merge *m = merge_new();
	for (size_t twice = 0; twice < 2; twice++)
		for (size_t i = 0; i < COUNT(labels); i++) {
			made_at(&one, 0x400000);
			one.p.n_sample = 1;
			one.label[0].str = 0, one.label[0].num = labels[i][0], one.label[0].num_unit = labels[i][1];
			add(m, &one);
		}
	Pprof__Profile *p = result(m);
	assert_int_equal(p->n_sample, COUNT(labels));
	for (size_t i = 0; i < COUNT(labels); i++) {
		assert_int_equal(p->sample[i]->value[0], 20);
		assert_int_equal(p->sample[i]->label[0]->num, labels[i][0]);
		assert_string_equal(text_of(p, p->sample[i]->label[0]->num_unit), labels[i][1] ? "bytes" : "");
	}
	done(p);
}

static void test_labels_in_another_order_are_the_same(void **state)
{
	(void)state;
	Pprof__Label *forth[] = {&one.label[0], &one.label[1]}, *back[] = {&two.label[1], &two.label[0]};
	one.label[1].key = two.label[1].key = S_PID;
	one.sample[0].label = forth, two.sample[0].label = back;
	one.sample[0].n_label = two.sample[0].n_label = 2;
	one.p.n_sample = two.p.n_sample = 1;
	Pprof__Profile *p = merged();
	assert_int_equal(p->n_sample, 1);
	assert_int_equal(p->sample[0]->n_label, 2);
	done(p);
}

/* A file may have the empty text twice. */
static void test_a_label_with_an_empty_text_is_none(void **state)
{
	(void)state;
	one.strings[S_NOTE] = (char *)"";
	one.label[0].str = S_NOTE;
	two.sample[0].n_label = 0;
	one.p.n_sample = two.p.n_sample = 1;
	Pprof__Profile *p = merged();
	assert_int_equal(p->n_sample, 1);
	assert_int_equal(p->sample[0]->n_label, 0);
	done(p);
}

static void test_our_labels_come_to_all_samples_and_replace_those_of_the_same_key(void **state)
{
	(void)state;
	static const struct merge_label labels[] = {{"process", "nginx"}, {"pid", "42"}};
	struct merge *m = merge_new();
	size_t lost;
	one.label[1].key = S_PID;
	assert_null(merge_add(m, &one.p, labels, COUNT(labels), &lost));
	Pprof__Profile *p = result(m);
	for (size_t i = 0; i < SAMPLES; i++) {
		const Pprof__Sample *s = p->sample[i];
		size_t pids = 0, processes = 0;
		for (size_t k = 0; k < s->n_label; k++) {
			const char *key = text_of(p, s->label[k]->key), *value = text_of(p, s->label[k]->str);
			pids += strcmp(key, "pid") == 0 && strcmp(value, "42") == 0;
			processes += strcmp(key, "process") == 0 && strcmp(value, "nginx") == 0;
		}
		assert_int_equal(s->n_label, i == 1 ? 2 : 3);
		assert_int_equal(pids + 10 * processes, 11);
	}
	done(p);
}

/* --- the head -------------------------------------------------------------------------------------- */

static void test_times_and_comments_are_united(void **state)
{
	(void)state;
	two.p.time_nanos = 400, two.p.duration_nanos = 7, two.p.period = 30;
	two.p.default_sample_type = S_CPU;
	two.comment[0] = S_TEXT;
	struct merge *m = merge_new();
	add(m, &one);
	add(m, &two);
	add(m, &one);
	merge_note(m, "ours");
	Pprof__Profile *p = result(m);
	assert_int_equal(p->time_nanos, 400);
	assert_int_equal(p->duration_nanos, 17);
	assert_int_equal(p->period, 30);
	assert_string_equal(text_of(p, p->default_sample_type), "cpu");
	assert_string_equal(text_of(p, p->drop_frames), "malloc");
	assert_string_equal(text_of(p, p->period_type->unit), "nanoseconds");
	assert_int_equal(p->n_comment, 3);
	assert_string_equal(text_of(p, p->comment[0]), "a note");
	assert_string_equal(text_of(p, p->comment[1]), "text");
	assert_string_equal(text_of(p, p->comment[2]), "ours");
	done(p);
}

static void test_a_profile_without_a_time_does_not_make_it_zero(void **state)
{
	(void)state;
	two.p.time_nanos = 0;
	Pprof__Profile *p = merged();
	assert_int_equal(p->time_nanos, 1000);
	done(p);
}

static void test_other_types_are_refused_and_leave_no_trace(void **state)
{
	(void)state;
	struct merge *m = merge_new();
	size_t lost;
	add(m, &one);
	two.type.unit = S_BYTES;
	assert_string_equal(merge_add(m, &two.p, NULL, 0, &lost),
	                    "its samples are of other types than those of the first profile");
	made_at(&two, 0x400000);
	two.period_type.type = S_KEY;
	assert_non_null(merge_add(m, &two.p, NULL, 0, &lost));
	made_at(&two, 0x400000);
	two.p.period_type = NULL;
	assert_non_null(merge_add(m, &two.p, NULL, 0, &lost));
	assert_int_equal(merge_count(m), 1);
	Pprof__Profile *p = result(m);
	assert_int_equal(p->duration_nanos, 5);
	assert_int_equal(p->sample[0]->value[0], 10);
	done(p);
}

static void test_a_mapping_has_functions_only_if_all_say_so(void **state)
{
	(void)state;
	two.mapping.has_functions = 0, two.mapping.has_line_numbers = 1;
	Pprof__Profile *p = merged();
	assert_int_equal(p->mapping[0]->has_functions, 0);
	assert_int_equal(p->mapping[0]->has_line_numbers, 1);
	done(p);
}

static void test_texts_that_are_no_utf8_become_so(void **state)
{
	(void)state;
	static char bad[] = "caf\xe9";
	one.strings[S_WORK] = two.strings[S_WORK] = bad;
	Pprof__Profile *p = merged();
	assert_string_equal(text_of(p, p->function[0]->name), "caf?");
	done(p);
}

/* --- limits ---------------------------------------------------------------------------------------- */

static void test_what_is_unsound_is_refused(void **state)
{
	static uint64_t *const ids[] = {&one.mapping.id, &one.function[1].id, &one.location[2].id};
	static int64_t *const texts[] = {&one.function[0].name,  &one.mapping.build_id, &one.label[0].str,
	                                 &one.comment[0],        &one.type.unit,        &one.p.drop_frames,
	                                 &one.label[0].num_unit, &one.p.doc_url};
	static const int64_t nowhere[] = {-1, STRINGS, INT64_MAX, INT64_MIN};
	struct merge *m = merge_new();
	size_t lost;
	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		made_at(&one, 0x400000);
		*ids[i] = 0;
		assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	}
	for (size_t i = 0; i < COUNT(texts); i++)
		for (size_t k = 0; k < COUNT(nowhere); k++) {
			made_at(&one, 0x400000);
			*texts[i] = nowhere[k];
			assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
		}
	made_at(&one, 0x400000);
	one.function[0].id = one.function[1].id;
	assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	made_at(&one, 0x400000);
	one.line[0].function_id = 12345;
	assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	made_at(&one, 0x400000);
	one.stack[2][0] = 12345;
	assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	made_at(&one, 0x400000);
	one.sample[1].n_value = 0;
	assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	assert_int_equal(merge_count(m), 0);
	merge_free(m);
}

static void test_a_location_of_no_mapping_keeps_its_address(void **state)
{
	(void)state;
	one.location[0].mapping_id = two.location[0].mapping_id = 77;
	two.location[0].address = one.location[0].address;
	Pprof__Profile *p = merged();
	assert_int_equal(p->n_sample, SAMPLES);
	assert_int_equal(p->location[0]->mapping_id, 0);
	assert_int_equal(p->location[0]->address, 0x400000);
	done(p);
}

/* Every sample is new, until there is no memory: the rest is counted, and what there is can be written. */
static void test_at_the_end_of_memory_the_rest_is_counted(void **state)
{
	(void)state;
	arena_set_limit(12 << 20);
	struct merge *m = merge_new();
	size_t lost = 0, all = 0;
	for (int64_t i = 0; i < 100000 && !lost; i++, all++) {
		made_at(&one, 0x400000);
		one.p.n_sample = 1;
		one.label[0].str = 0, one.label[0].num = i + 1;
		assert_null(merge_add(m, &one.p, NULL, 0, &lost));
	}
	assert_int_equal(lost, 1);
	assert_non_null(merge_add(m, &one.p, NULL, 0, &lost));
	Pprof__Profile *p = result(m);
	assert_int_equal(p->n_sample, all - 1);
	done(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_samples_of_one_program_at_two_places_are_added, set_up),
		cmocka_unit_test_setup(test_ids_are_numbered_in_the_order_of_the_file, set_up),
		cmocka_unit_test_setup(test_what_differs_stays_apart, set_up),
		cmocka_unit_test_setup(test_units_and_values_of_labels_tell_samples_apart, set_up),
		cmocka_unit_test_setup(test_labels_in_another_order_are_the_same, set_up),
		cmocka_unit_test_setup(test_a_label_with_an_empty_text_is_none, set_up),
		cmocka_unit_test_setup(test_our_labels_come_to_all_samples_and_replace_those_of_the_same_key, set_up),
		cmocka_unit_test_setup(test_times_and_comments_are_united, set_up),
		cmocka_unit_test_setup(test_a_profile_without_a_time_does_not_make_it_zero, set_up),
		cmocka_unit_test_setup(test_other_types_are_refused_and_leave_no_trace, set_up),
		cmocka_unit_test_setup(test_a_mapping_has_functions_only_if_all_say_so, set_up),
		cmocka_unit_test_setup(test_texts_that_are_no_utf8_become_so, set_up),
		cmocka_unit_test_setup(test_what_is_unsound_is_refused, set_up),
		cmocka_unit_test_setup(test_a_location_of_no_mapping_keeps_its_address, set_up),
		cmocka_unit_test_setup(test_at_the_end_of_memory_the_rest_is_counted, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
